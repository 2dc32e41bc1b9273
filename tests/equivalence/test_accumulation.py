"""The same global batch in any number of micro-batches gives the same parameters and policy state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework.registry import registry
from framework.training.assemble import Run
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import assembled

POLICIES = {
    "erm": ["policy=erm"],
    "rgd": ["policy=rgd"],
    "rgd_mean_one": ["policy=rgd", "policy.normalization=mean_one"],
    "rgd_sum_one": ["policy=rgd", "policy.normalization=sum_one", "policy.divergence=chi_square"],
    "rgd_reverse_kl": ["policy=rgd", "policy.divergence=reverse_kl"],
    "group_dro": ["policy=group_dro", "policy.step_size=0.5"],
    "group_dro_adjusted": ["policy=group_dro", "policy.step_size=0.5", "policy.adjustment=2.0"],
    "group_dro_btl": ["policy=group_dro_btl"],
    "also_optimistic": ["policy=also", "policy.pi_lr=0.5"],
    "also_descent_ascent": ["policy=also", "policy.mode=descent_ascent", "policy.pi_lr=0.5"],
    "also_mean": ["policy=also", "policy.payoff=mean", "policy.pi_lr=0.5"],
    "cvar": ["policy=cvar"],
    "cvar_regularized": ["policy=cvar", "policy.regularization=0.1"],
    "chi_square": ["policy=chi_square"],
    "chi_square_penalized": ["policy={name: chi_square, penalty: 0.5}"],
    "tilted": ["policy=tilted"],
    "tilted_average": ["policy={name: tilted, t: 2, average: 0.2}"],
    "tilted_hierarchical": ["policy={name: tilted, t: 2, tau: -1, level: hierarchical}"],
    "absgd": ["policy=absgd"],
    "spectral": ["policy={name: spectral, spectrum: extremile}"],
    "focal": ["policy=focal"],
    "importance": ["policy=importance"],
    "class_balanced": ["policy=class_balanced"],
    "group_cvar": ["policy=group_cvar"],
    "vrex": ["policy={name: vrex, penalty: 0.5, anneal_steps: 4}"],
    "trimmed": ["policy=trimmed", "policy.rare_groups=warn"],
    "trimmed_also": ["policy={name: trimmed, rare_groups: warn, base: {name: also, pi_lr: 0.5}}"],
    "deferred": ["policy={name: deferred, step: 5, base: {name: group_dro, step_size: 0.5}}"],
}
#: the policies that the single splits are tried with; the others take the finest one
EVERY_SPLIT = ("erm", "rgd_mean_one", "group_dro", "also_optimistic", "deferred")
#: binds in some steps and not in others, so that a wrong scale of the gradient shows
COMMON = ["train.clip_norm=1.0", "train.steps=10", "train.weight_decay_on=all"]


def trained(folder: Path, overrides: list[str]) -> Run:
    run = assembled(
        folder, [*COMMON, "evaluate.every_epochs=null", "checkpoint.every_epochs=null", *overrides]
    )
    with StopSignal() as signals:
        while not run.progress.done:
            advance(run, signals)
    return run


def largest_difference(one: Run, other: Run) -> float:
    with one.engine.true_point(), other.engine.true_point():
        pairs = zip(one.engine.named_weights(), other.engine.named_weights(), strict=True)
        return max(float((a - b).abs().max()) for (_, a), (_, b) in pairs)


@pytest.mark.parametrize("policy", POLICIES)
def test_any_split_gives_the_same_parameters(policy: str, tmp_path: Path) -> None:
    whole = trained(tmp_path, POLICIES[policy])
    for micro in (16, 8) if policy in EVERY_SPLIT else (8,):
        parts = trained(tmp_path, [*POLICIES[policy], f"batch.micro={micro}"])
        assert parts.plan.accumulation == 32 // micro
        assert largest_difference(whole, parts) <= 2e-6
        for name, value in whole.policy.state_dict().items():
            torch.testing.assert_close(parts.policy.state_dict()[name], value, rtol=0, atol=1e-6)
        assert parts.last is not None
        assert whole.last is not None
        assert torch.equal(parts.last.samples.index, whole.last.samples.index)


def test_every_shipped_policy_is_here() -> None:
    names = {
        words[0].removeprefix("policy={name: ").removeprefix("policy=").split(",")[0]
        for words in POLICIES.values()
    }
    # a column that no bundled data brings: exact over processes in tests/unit/policies/test_objective.py
    assert set(registry.names("policy")) - names == {"doremi"}


def test_the_clip_binds_only_in_some_steps(tmp_path: Path) -> None:
    run = assembled(tmp_path, [*COMMON, "evaluate.every_epochs=null", "checkpoint.every_epochs=null"])
    norms = []
    with StopSignal() as signals:
        while not run.progress.done:
            advance(run, signals)
            assert run.last is not None
            norms.append(float(run.last.gradient_norm))
    assert min(norms) < 1.0 < max(norms)


def test_per_micro_is_another_algorithm(tmp_path: Path) -> None:
    exact = trained(tmp_path, [*POLICIES["group_dro"], "batch.micro=8"])
    per_micro = trained(tmp_path, [*POLICIES["group_dro"], "batch.micro=8", "batch.accumulation=per_micro"])
    assert largest_difference(exact, per_micro) > 1e-4


def test_per_micro_is_the_same_where_samples_do_not_meet(tmp_path: Path) -> None:
    exact = trained(tmp_path, ["policy=rgd", "batch.micro=8"])
    per_micro = trained(tmp_path, ["policy=rgd", "batch.micro=8", "batch.accumulation=per_micro"])
    assert largest_difference(exact, per_micro) <= 2e-6


def test_dropout_sees_the_same_random_numbers_in_both_passes(tmp_path: Path) -> None:
    overrides = [*POLICIES["group_dro"], "batch.micro=8", "model.dropout=0.5"]
    run = assembled(tmp_path, [*COMMON, *overrides, "evaluate.every_epochs=null"])
    seen: list[torch.Tensor] = []
    losses = run.task.losses

    def noted(outputs: torch.Tensor, batch: object) -> torch.Tensor:
        seen.append(losses(outputs, batch).detach())  # type: ignore[arg-type]
        return losses(outputs, batch)  # type: ignore[arg-type]

    run.task.losses = noted  # type: ignore[method-assign]
    run.step(next(run.loader))
    assert len(seen) == 8
    for first, second in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(first, second)
