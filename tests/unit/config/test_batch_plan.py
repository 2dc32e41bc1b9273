"""The arithmetic of a global batch, and what is said when it does not work out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.config.batch_plan import BatchPlan
from framework.errors import ConfigError

SMALL = st.integers(1, 8)


@given(SMALL, SMALL, SMALL)
def test_size_is_micro_times_accumulation_times_world(micro: int, accumulation: int, world: int) -> None:
    plan = BatchPlan.solve(micro * accumulation * world, micro, world)
    assert (plan.micro, plan.accumulation, plan.world_size) == (micro, accumulation, world)


@given(SMALL, SMALL, SMALL, st.data())
def test_every_position_is_taken_once(micro: int, accumulation: int, world: int, data: st.DataObject) -> None:
    plan = BatchPlan.solve(micro * accumulation * world, micro, world)
    num_samples = data.draw(st.integers(1, plan.size))
    taken = [
        position
        for number in range(plan.num_micros(num_samples))
        for rank in range(world)
        for position in plan.positions(number, rank, num_samples)
    ]
    assert sorted(position for position in taken if position >= 0) == list(range(num_samples))


def test_without_micro_each_rank_takes_its_share() -> None:
    assert BatchPlan.solve(64, None, 4) == BatchPlan(64, 16, 1, 4)


@pytest.mark.parametrize(
    ("size", "micro", "world", "offer"),
    [
        (64, None, 3, "63 or 66"),
        (2, None, 4, "try 4"),
        (64, 24, 1, "batch.micro=16 or batch.size=48 or 72"),
        (10**15, 7, 1, "batch.micro=5 or batch.size=999999999999994 or"),
    ],
)
def test_sizes_that_do_not_divide(size: int, micro: int | None, world: int, offer: str) -> None:
    with pytest.raises(ConfigError, match=offer):
        BatchPlan.solve(size, micro, world)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 8))
def test_what_is_offered_works(size: int, micro: int, world: int) -> None:
    try:
        BatchPlan.solve(size, micro, world)
    except ConfigError as error:
        offer = str(error).partition("; try ")[2]
        for choice in offer.split(" or "):
            key, _, value = choice.rpartition("=")
            if key == "batch.micro":
                BatchPlan.solve(size, int(value), world)
            else:
                BatchPlan.solve(int(value), micro, world)


def test_positions_are_integers() -> None:
    assert np.issubdtype(BatchPlan.solve(4, 2, 1).positions(0, 0, 3).dtype, np.integer)


@given(SMALL, SMALL, SMALL, st.data())
def test_a_cut_without_some_places_gives_each_other_sample_to_one_rank(
    micro: int, accumulation: int, world: int, data: st.DataObject
) -> None:
    plan = BatchPlan.solve(micro * accumulation * world, micro, world)
    places = data.draw(st.integers(1, plan.size))
    left_out = sorted(data.draw(st.sets(st.integers(0, places - 1))))
    cut = plan.cut(places - len(left_out), left_out)
    kept = [place for place in range(places) if place not in left_out]
    for number in range(plan.num_micros(places)):
        spans = [cut.span(number, rank) for rank in range(world)]
        for rank, (start, end) in enumerate(spans):
            assert kept[start:end] == [p for p in plan.positions(number, rank, places) if p in kept]
        first, last = cut.row(number)
        assert sum(end - start for start, end in spans) == last - first
        # gathered: every rank's rows, padded to `micro`, its samples first
        padded = [row for start, end in spans for row in [*kept[start:end], *[-1] * (micro - end + start)]]
        assert [padded[row] for row in cut.rows([number])] == kept[first:last]
