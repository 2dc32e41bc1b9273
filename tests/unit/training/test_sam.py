"""Sharpness-aware minimisation: two passes, one step, against a loop written out in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.data.batch import Batch
from framework.engines.base import EngineSettings
from framework.engines.precision import CAST
from framework.engines.single import SingleEngine
from framework.errors import ConfigError, TrainingError
from framework.parallel.world import World
from framework.training.assemble import Run
from tests.equivalence.plain_loop import GroupDro, Rgd, Weights
from tests.tiny import assembled

STEPS = 8
QUIET = ["evaluate.every_epochs=null", "checkpoint.every_epochs=null"]
MOMENTUM = ["optimizer={name: sgd, lr: 0.1, momentum: 0.9}"]


class Reference:
    """SAM in float64 with SGD and momentum, on a copy of a run's model."""

    def __init__(self, run: Run, weigh: Weights, rho: float, **options: bool) -> None:
        self.model = copy.deepcopy(run.engine.model).double()
        self.parameters = list(self.model.parameters())
        self.velocity = [torch.zeros_like(p) for p in self.parameters]
        self.weigh, self.rho = weigh, rho
        self.adaptive, self.mean, self.add = (options.get(k, False) for k in ("adaptive", "mean", "add"))

    def losses(self, batch: Batch) -> Tensor:
        assert isinstance(batch.inputs, Tensor)
        return F.cross_entropy(self.model(batch.inputs.double()), batch.targets, reduction="none")

    def gradient(self, batch: Batch, weights: np.ndarray) -> list[Tensor]:
        objective = (torch.from_numpy(weights) * self.losses(batch)).sum()
        return list(torch.autograd.grad(objective, self.parameters))

    def step(self, batch: Batch) -> None:
        groups, n = batch.groups.numpy(), len(batch)
        plain = self.losses(batch).detach().numpy()
        weights = self.weigh(plain, groups)
        ascent = self.gradient(batch, np.full(n, 1 / n) if self.mean else weights)
        sizes = [p.detach().abs() if self.adaptive else torch.ones_like(p) for p in self.parameters]
        norm = math.sqrt(sum(float((s * g).square().sum()) for s, g in zip(sizes, ascent, strict=True)))
        here = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, s, g in zip(self.parameters, sizes, ascent, strict=True):
                p.add_(self.rho * s * s * g / norm)
        if isinstance(self.weigh, Rgd):
            weights = self.weigh(self.losses(batch).detach().numpy(), groups)
        descent = self.gradient(batch, weights)
        with torch.no_grad():
            for p, w, v, g, a in zip(self.parameters, here, self.velocity, descent, ascent, strict=True):
                v.mul_(0.9).add_(g + a if self.add else g)
                p.copy_(w - 0.1 * v)


def counts(run: Run) -> np.ndarray:
    return np.asarray(run.data.policy_groups.counts.tolist(), dtype=float)


Make = Callable[[Run], Weights]
CASES: dict[str, tuple[list[str], Make, dict[str, Any]]] = {
    "erm": (["policy=erm"], lambda run: Weights(), {"rho": 0.1}),
    "adaptive": (["policy=erm"], lambda run: Weights(), {"rho": 0.5, "adaptive": True}),
    "rgd": (
        ["policy={name: rgd, clip: 2.0, normalization: sum_one}"],
        lambda run: Rgd(2.0, sum_one=True),
        {"rho": 0.1},
    ),
    "group_dro": (
        ["policy={name: group_dro, step_size: 0.5, floor: 0}"],
        lambda run: GroupDro(counts(run), 0.5, 0.0, frozen=True),
        {"rho": 0.2},
    ),
    "sharp_dro": (
        ["policy={name: group_dro, step_size: 0.5, floor: 0, absent: zero_loss}"],
        lambda run: GroupDro(counts(run), 0.5, 0.0, frozen=False),
        {"rho": 0.2, "mean": True, "add": True},
    ),
}


def sam(rho: float, *, adaptive: bool = False, mean: bool = False, add: bool = False) -> str:
    ascent = "mean" if mean else "objective"
    return f"train.sam={{rho: {rho}, adaptive: {adaptive}, ascent: {ascent}, add_ascent: {add}}}"


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_loop_written_out_in_float64(case: str, tmp_path: Path) -> None:
    policy, make, options = CASES[case]
    run = assembled(tmp_path, [*QUIET, *MOMENTUM, *policy, sam(**options)])
    reference = Reference(run, make(run), **options)
    start = [p.detach().clone() for p in run.engine.model.parameters()]
    for _ in range(STEPS):
        batch = next(run.loader)
        reference.step(batch.micros[0])
        assert run.step(batch).taken
    moved = 0.0
    for found, expected, before in zip(
        run.engine.model.parameters(), reference.parameters, start, strict=True
    ):
        torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=0, atol=2e-6)
        moved = max(moved, float((found.detach() - before).abs().max()))
    assert moved > 0.05
    if isinstance(reference.weigh, GroupDro):
        torch.testing.assert_close(
            run.policy.state_dict()["q"], torch.from_numpy(reference.weigh.q), rtol=0, atol=1e-6
        )


class Bowl(nn.Module):
    """0.5 w A w for every row of the input, which does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5]))
        self.curvature = torch.tensor([1.0, 4.0, 0.25])

    def forward(self, rows: Tensor) -> Tensor:
        return (0.5 * self.curvature * self.w.square()).sum().expand(len(rows))


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_bowl_has_a_closed_form(adaptive: bool) -> None:
    settings = EngineSettings(
        Bowl, lambda named: torch.optim.SGD([p for _, p in named], lr=0.1), World(), torch.device("cpu")
    )
    engine = SingleEngine(settings)
    model = engine.model
    assert isinstance(model, Bowl)
    w, curvature = model.w.detach().clone(), model.curvature

    def gradient() -> Tensor:
        engine.backward(engine.forward(torch.zeros(2, 1)), torch.tensor([0.25, 0.75]))
        assert model.w.grad is not None
        return model.w.grad.clone()

    first = gradient()
    torch.testing.assert_close(first, curvature * w)
    step = w.square() * first / (w * first).norm() if adaptive else first / first.norm()
    with engine.perturbed(0.5, adaptive=adaptive, add_gradient=True):
        torch.testing.assert_close(model.w.detach(), w + 0.5 * step)
        assert all(p.grad is None for p in model.parameters())
        torch.testing.assert_close(gradient(), curvature * (w + 0.5 * step))
    assert torch.equal(model.w, w)
    assert model.w.grad is not None
    torch.testing.assert_close(model.w.grad, curvature * (2 * w + 0.5 * step))


def test_what_only_the_first_pass_used_keeps_its_gradient() -> None:
    settings = EngineSettings(
        Bowl, lambda named: torch.optim.SGD([p for _, p in named], lr=0.1), World(), torch.device("cpu")
    )
    engine = SingleEngine(settings)
    model = engine.model
    assert isinstance(model, Bowl)
    expected = model.curvature * model.w.detach()
    engine.backward(engine.forward(torch.zeros(2, 1)), torch.tensor([0.25, 0.75]))
    with engine.perturbed(0.5, add_gradient=True):
        assert model.w.grad is None
    assert model.w.grad is not None
    torch.testing.assert_close(model.w.grad, expected)


POLICIES = {
    "erm": ["policy=erm"],
    "group_dro": ["policy=group_dro", "policy.step_size=0.5"],
    "also_optimistic": ["policy=also", "policy.pi_lr=0.5"],
    "cvar": ["policy=cvar"],
    "deferred": ["policy={name: deferred, step: 5, base: {name: group_dro, step_size: 0.5}}"],
}


def trained(folder: Path, overrides: list[str], steps: int = STEPS) -> Run:
    run = assembled(folder, [*QUIET, "train.clip_norm=1.0", *overrides])
    for _ in range(steps):
        run.step(next(run.loader))
    return run


def largest_difference(one: Run, other: Run) -> float:
    with one.engine.true_point(), other.engine.true_point():
        pairs = zip(one.engine.named_weights(), other.engine.named_weights(), strict=True)
        apart = max(float((a - b).abs().max()) for (_, a), (_, b) in pairs)
    for name, value in one.policy.state_dict().items():
        apart = max(apart, float((value.double() - other.policy.state_dict()[name].double()).abs().max()))
    return apart


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ascent", ["objective", "mean"])
def test_any_split_gives_the_same_parameters(policy: str, ascent: str, tmp_path: Path) -> None:
    options = [*POLICIES[policy], f"train.sam={{rho: 0.2, ascent: {ascent}}}"]
    whole = trained(tmp_path, options)
    assert largest_difference(whole, trained(tmp_path, [*options, "batch.micro=8"])) <= 2e-6
    assert largest_difference(whole, trained(tmp_path, POLICIES[policy])) > 1e-4


@pytest.mark.parametrize("accumulation", ["exact", "per_micro"])
@pytest.mark.parametrize("policy", POLICIES)
def test_no_distance_is_no_sam(policy: str, accumulation: str, tmp_path: Path) -> None:
    options = [*POLICIES[policy], "batch.micro=8", f"batch.accumulation={accumulation}", "model.dropout=0.3"]
    plain = trained(tmp_path, options)
    # Equal only if both passes also draw the same random numbers.
    assert largest_difference(plain, trained(tmp_path, [*options, "train.sam={rho: 1e-9}"])) <= 2e-6


def test_running_statistics_are_those_of_the_first_pass(tmp_path: Path) -> None:
    options = [*QUIET, "model.norm=batch"]
    run, plain = (assembled(tmp_path, [*options, *more]) for more in (["train.sam={rho: 5}"], []))
    run.step(next(run.loader))
    plain.step(next(plain.loader))
    for found, expected in zip(run.engine.model.buffers(), plain.engine.model.buffers(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("bad_pass", [0, 1])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_bad_number_in_either_pass_skips_the_step(bad_pass: int, kind: str, tmp_path: Path) -> None:
    options = ["policy=also", "policy.pi_lr=0.5", "model.norm=batch", "train.sam={rho: 0.2}"]
    run = trained(tmp_path, [*options, "optimizer=adam", "train.ema={decay: 0.9}", "train.max_skipped=1"], 3)
    losses, calls = run.task.losses, [0]

    def spoiled(outputs: Tensor, batch: Batch) -> Tensor:
        calls[0] += 1
        good = losses(outputs, batch)
        if (calls[0] - 1) % 2 != bad_pass:
            return good
        return good * math.nan if kind == "loss" else good + (outputs * 0).sum(1).sqrt()

    def everything() -> list[Tensor]:
        state = run.engine.state_dict()
        tensors = [*state["model"].values(), *state["ema"].values(), *run.policy.state_dict().values()]
        return [tensor.clone() for tensor in tensors] + [p.clone() for p in run.engine.model.parameters()]

    with run.engine.true_point():
        before = everything()
    run.task.losses = spoiled  # type: ignore[method-assign]
    assert not run.step(next(run.loader)).taken
    with run.engine.true_point():
        for tensor, expected in zip(everything(), before, strict=True):
            assert torch.equal(tensor, expected)
    assert all(parameter.grad is None for parameter in run.engine.model.parameters())
    assert run.progress.skipped == 1
    calls[0] = 0
    with pytest.raises(TrainingError, match="2 steps in a row"):
        run.step(next(run.loader))


def test_a_loss_scale_cancels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*POLICIES["group_dro"], "train.sam={rho: 0.2, ascent: mean, add_ascent: true}"]
    plain = trained(tmp_path, options)
    # Computed in fp32, in which powers of two cancel.
    monkeypatch.setitem(CAST, "fp16", None)
    scaled = trained(
        tmp_path, [*options, "engine.precision=fp16", "engine.loss_scale={initial: 1024, growth_interval: 3}"]
    )
    assert scaled.engine.loss_scale is not None
    assert scaled.engine.loss_scale.scale > 1024
    assert largest_difference(plain, scaled) == 0.0


def test_an_overflow_in_the_first_pass_lowers_the_loss_scale(tmp_path: Path) -> None:
    run = assembled(
        tmp_path,
        [*QUIET, "train.sam={rho: 0.1}", "engine.precision=fp16", "engine.loss_scale={initial: 1e30}"],
    )
    before = [p.clone() for p in run.engine.model.parameters()]
    assert not run.step(next(run.loader)).taken
    assert run.engine.loss_scale is not None
    assert run.engine.loss_scale.scale == 5e29
    assert run.progress.skipped == 0
    assert all(torch.equal(p, b) for p, b in zip(run.engine.model.parameters(), before, strict=True))


def test_an_engine_that_cannot_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SingleEngine, "can_perturb", False)
    with pytest.raises(ConfigError, match=r"train.sam.*engine single cannot"):
        assembled(tmp_path, ["train.sam={rho: 0.1}"])
