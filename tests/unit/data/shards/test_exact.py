"""Which samples a run over shards sees, by what is in their pixels: none twice, none missed, in one order."""

from __future__ import annotations

from itertools import chain, product

import numpy as np
import pytest
import torch

from framework.config.batch_plan import BatchPlan
from framework.config.schema import SamplingConfig
from framework.data.dataset import Dataset
from framework.data.loader import TrainLoader
from framework.data.order import make_order
from framework.parallel.world import World
from tests.unit.data.shards.samples import identities, pictures, read, write

N, SIZE, STEPS = 40, 12, 8  # two epochs of three full batches and one of four samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("shards")
    write(folder, {"train": pictures(N)})
    return read(folder)["train"]


def layout(dataset: Dataset, sampling: str, world: int, workers: int) -> list[TrainLoader]:
    plan = BatchPlan.solve(SIZE, 1 if world == 4 else 2, world)
    config = SamplingConfig(name=sampling, shards=2)  # type: ignore[arg-type]
    order = make_order(config, np.zeros(N, np.int64), 7, dataset.runs())
    return [
        TrainLoader(dataset, np.zeros(N, np.int64), order, plan, World(rank, world), workers)
        for rank in range(world)
    ]


def advance(ranks: list[TrainLoader], steps: int) -> list[list[int]]:
    """What is in the pixels of the next global batches, in canonical order."""
    seen = []
    for _ in range(steps):
        batches = [next(rank) for rank in ranks]
        found: list[int] = []
        for micros in zip(*(batch.micros for batch in batches), strict=True):
            for micro in micros:
                assert isinstance(micro.inputs, torch.Tensor)
                found += identities(micro.inputs[micro.valid])
        seen.append(found)
    return seen


#: (processes, workers), batches before the kill, (processes, workers) that go on
KILLS = [((world, 0), killed, (world % 4 + 1, 0)) for world in (1, 2, 3, 4) for killed in (0, 1, 3, 4, 6)]
KILLS += [((1, 2), 3, (2, 0)), ((2, 0), 5, (3, 2)), ((3, 2), 6, (4, 2)), ((4, 2), 1, (1, 2))]


@pytest.mark.parametrize("sampling", ["uniform", "blocks"])
def test_any_layout_and_any_kill_gives_each_sample_once_in_one_order(dataset: Dataset, sampling: str) -> None:
    whole = advance(layout(dataset, sampling, 1, 0), STEPS)
    for epoch in (whole[:4], whole[4:]):
        assert sorted(chain(*epoch)) == list(range(N))
    assert whole[:4] != whole[4:]
    for first, killed, second in KILLS:
        before = layout(dataset, sampling, *first)
        seen = advance(before, killed)
        state = before[0].state_dict()
        after = layout(dataset, sampling, *second)
        for rank in after:
            rank.load_state_dict(state)
        seen += advance(after, STEPS - killed)
        for rank in [*before, *after]:
            rank.close()
        assert seen == whole, f"{first} killed after {killed} batches, then {second}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sampling", ["uniform", "blocks"])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_full_product_of_layouts_and_kills(dataset: Dataset, sampling: str, world: int) -> None:
    whole = advance(layout(dataset, sampling, 1, 0), STEPS)
    for workers, killed, other, other_workers in product((0, 2), range(STEPS), (1, 2, 3, 4), (0, 2)):
        before = layout(dataset, sampling, world, workers)
        seen = advance(before, killed)
        after = layout(dataset, sampling, other, other_workers)
        for rank in after:
            rank.load_state_dict(before[0].state_dict())
        seen += advance(after, STEPS - killed)
        for rank in [*before, *after]:
            rank.close()
        assert seen == whole, (
            f"{world} x {workers} workers killed after {killed}, then {other} x {other_workers}"
        )


def test_blocks_touch_few_shards_at_a_time(dataset: Dataset) -> None:
    seen = list(chain(*advance(layout(dataset, "blocks", 1, 0), 4)))
    blocks = [sorted({sample // 8 for sample in seen[start : start + 16]}) for start in (0, 16, 32)]
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert sorted(chain(*blocks)) == [0, 1, 2, 3, 4]
    assert seen[:16] != sorted(seen[:16])
