"""Any engine on any number of processes and micro-batches is the one-process run on the whole batch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch._dynamo.utils

from framework.parallel.world import World
from framework.training.assemble import Run
from tests.distributed import RankError, run_ranks
from tests.equivalence import mutations
from tests.equivalence.matrix import (
    EMPTY_RANK,
    POLICIES,
    UNEVEN,
    Case,
    Outcome,
    differences,
    outcome,
    outcomes,
)

#: every engine that has a file, but those that stand for another or for one process
ENGINES = sorted(
    path.stem for path in Path("conf/engine").glob("*.yaml") if path.stem not in ("auto", "single")
)
#: each differs from one of the others in a setting that `slow` covers
VARIANTS = ("zero0", "zero2", "zero2_offload", "zero3_offload")
QUICK_FIRST = [pytest.param(e, marks=pytest.mark.slow) if e in VARIANTS else e for e in ENGINES]
WORLDS = [2, pytest.param(4, marks=pytest.mark.slow)]


@cache
def reference(policy: str, batch: int) -> Outcome:
    return outcome(Case(policy, batch=batch), World())


def of_engine(
    engine: str, policy: str, micros: int, batch: int, mutation: Callable[[Run], None] | None = None
) -> Case:
    return Case(policy, micros, batch, (f"engine={engine}",), mutation)


def policies_of(engine: str) -> list[str]:
    """What can be trained under `engine`: SAM does not move offloaded shards."""
    return [p for p in POLICIES if not (engine.endswith("_offload") and p in ("sharp_dro", "asam_also"))]


def require(engine: str) -> None:
    if engine.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")


def found(cases: list[Case], world_size: int) -> list[list[str]]:
    """For each case, the differences to the one-process run."""
    reached = run_ranks(outcomes, world_size, cases, timeout=10 * len(cases) + 120)[0]
    return [
        differences(result, reference(case.policy, case.batch))
        for case, result in zip(cases, reached, strict=True)
    ]


def told(cases: list[Case], world_size: int) -> list[str]:
    return [
        f"{case.policy}, {case.micros} micro-batch(es) of {case.batch}: {', '.join(texts)}"
        for case, texts in zip(cases, found(cases, world_size), strict=True)
        if texts
    ]


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("engine", QUICK_FIRST)
def test_every_policy_is_exact(engine: str, world_size: int) -> None:
    require(engine)
    cases = [of_engine(engine, policy, 2, UNEVEN) for policy in policies_of(engine)]
    cases += [of_engine(engine, policy, 1, UNEVEN) for policy in ("rgd_sum_one", "also_optimistic")]
    cases += [of_engine(engine, "group_dro", 1, EMPTY_RANK)]
    assert told(cases, world_size) == []


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_full_product_is_exact(engine: str, world_size: int) -> None:
    require(engine)
    cases = [
        of_engine(engine, policy, micros, batch)
        for policy in policies_of(engine)
        for batch, splits in ((UNEVEN, (1, 2, 5)), (EMPTY_RANK, (1, 2, 4)))
        for micros in splits
    ]
    assert told(cases, world_size) == []


def must_translate(run: Run) -> None:
    """Have the optimizer's steps fail unless torch.compile has been at work before."""
    counters, step = torch._dynamo.utils.counters, run.engine.step

    def checked() -> None:
        assert counters["stats"]["unique_graphs"] > 0
        step()

    run.engine.step = checked  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp", "zero0", "zero1", "zero2"])
def test_a_compiled_model_is_exact(engine: str) -> None:
    require(engine)
    overrides = (f"engine={engine}", "engine.compile=true")
    cases = [
        Case(policy, 2, UNEVEN, overrides, must_translate) for policy in ("group_dro", "also_optimistic")
    ]
    assert told(cases, 2) == []


@pytest.mark.parametrize("engine", QUICK_FIRST)
def test_mistakes_are_noticed(engine: str) -> None:
    require(engine)
    cases = [
        of_engine(engine, "erm", 1, UNEVEN, mutations.doubled_factor),
        of_engine(engine, "erm", 1, UNEVEN, mutations.dropped_factor),
        of_engine(engine, "group_dro", 1, UNEVEN, mutations.reversed_gather),
        of_engine(engine, "erm", 1, EMPTY_RANK, mutations.counted_fillers),
    ]
    assert all(found(cases, 2))


def test_a_filler_that_counts_breaks_a_policy_of_the_whole_batch() -> None:
    with pytest.raises(RankError):
        found([of_engine("ddp", "group_dro", 1, EMPTY_RANK, mutations.counted_fillers)], 2)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_reference_covers_what_could_go_wrong(policy: str) -> None:
    uneven, empty = reference(policy, UNEVEN), reference(policy, EMPTY_RANK)
    clip = 0.7 if policy == "group_dro" else 1.0
    assert min(uneven.norms) < clip < max(uneven.norms)
    assert 23 in map(len, uneven.samples)
    assert 7 in map(len, empty.samples)
