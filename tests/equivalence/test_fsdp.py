"""Engine fsdp gives the numbers of engine single, and its checkpoints go on anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.equivalence.fsdp_cases import VIT, Case, Outcome, outcome, outcomes

POLICIES = {
    "erm": ("policy=erm", "train.ema={decay: 0.9}"),
    "rgd_sum_one": ("policy=rgd", "policy.normalization=sum_one"),
    "group_dro": ("policy=group_dro", "policy.step_size=0.5"),
    "also_optimistic": ("policy=also", "policy.pi_lr=0.2", "train.ema={decay: 0.9}"),
    "also_descent_ascent": ("policy=also", "policy.mode=descent_ascent", "policy.pi_lr=0.2"),
}
#: two parameter groups, moments, step counters, the point ahead and an average
ALSO = (*POLICIES["also_optimistic"], "optimizer={name: adamw, lr: 0.01}", "train.weight_decay_on=matrices")


def single(case: Case) -> Outcome:
    return outcome(case, "single", World())


def sharded(*cases: Case) -> list[Outcome]:
    """All of them on the same two processes, which take longer to start than to train."""
    results: list[Outcome] = run_ranks(outcomes, 2, list(cases), "fsdp")[0]
    return results


def assert_equal(found: Outcome, expected: Outcome) -> None:
    for part, limit in {"model": 2e-6, "ema": 2e-6, "optimizer": 1e-5, "policy": 1e-6}.items():
        assert found.difference(expected, part) <= limit, part


def test_two_ranks_and_any_accumulation_give_the_numbers_of_one_process() -> None:
    cases = {
        (name, micro): Case((*overrides, f"batch.micro={micro}"))
        for name, overrides in POLICIES.items()
        for micro in ((16, 8) if "train.ema={decay: 0.9}" in overrides else (8,))
    }
    wrong_factors = [Case(POLICIES["erm"], factor=factor) for factor in (0.5, 2.0)]
    found = sharded(*cases.values(), *wrong_factors)
    expected = {name: single(Case(overrides)) for name, overrides in POLICIES.items()}
    for (name, _), one in zip(cases, found, strict=False):
        assert min(expected[name].norms) < 0.8 < max(expected[name].norms)
        assert_equal(one, expected[name])
    for one in found[len(cases) :]:
        assert one.difference(expected["erm"], "model") > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_process_gives_the_numbers_of_engine_single(policy: str) -> None:
    case = Case((*POLICIES[policy], "batch.micro=16"))
    assert_equal(outcome(case, "fsdp", World()), single(case))


def test_checkpoints_go_from_any_layout_to_any_other(tmp_path: Path) -> None:
    half = {name: tmp_path / name for name in ("single", "sharded")}
    saved = Case(ALSO, stop=10, save=half["sharded"])
    single(Case(ALSO, stop=10, save=half["single"]))
    checkpoints = {name: folder / "step-00000010" for name, folder in half.items()}
    onward = [Case(ALSO, start=path) for path in checkpoints.values()]
    _, from_single, from_sharded, whole = sharded(saved, *onward, Case(ALSO))
    expected = single(Case(ALSO))

    assert from_sharded.same(whole)
    assert_equal(whole, expected)
    assert_equal(from_single, expected)
    assert_equal(single(onward[1]), expected)


def test_how_memory_is_saved_does_not_change_the_numbers() -> None:
    options = (
        "engine.reshard_after_forward=false",
        "engine.activation_checkpointing=true",
        "engine.cpu_offload=true",
        "engine.reduce_each_micro=true",
    )
    policy = ("policy=group_dro", "batch.micro=8", *VIT)
    plain, *others, half = sharded(
        *(Case((*policy, *option), stop=4) for option in [(), *zip(options), ("engine.precision=bf16",)])
    )
    for name, other in zip(options[:3], others, strict=False):
        assert other.same(plain), name
    assert_equal(others[3], plain)
    assert 1e-6 < half.difference(plain, "model") < 2e-2
    assert all(values.dtype != "float16" for values in half.arrays.values())
