"""The whole step against a loop written by hand from the methods' formulas."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.training.assemble import Run
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.equivalence import plain_loop
from tests.equivalence.plain_loop import Plan, Trace, Weights
from tests.tiny import assembled

STEPS = 20
#: 423 training samples: every seventh batch is short
SIZE = 64
COMMON = [
    f"batch.size={SIZE}",
    f"train.steps={STEPS}",
    "evaluate.every_epochs=null",
    "checkpoint.every_epochs=null",
    "optimizer.lr=0.1",
    "optimizer.momentum=0.9",
    "train.clip_norm=0.7",
    "optimizer.weight_decay=0.01",
]
CONSTANT = Plan(SIZE, STEPS, lambda step: 0.1, momentum=0.9, decay=lambda parameter: 0.01, clip=0.7)


def counts(run: Run) -> np.ndarray:
    labels = run.data.splits["train"].columns["label"].values
    return np.bincount(labels, minlength=10)


METHODS: dict[str, tuple[list[str], Any]] = {
    "erm": (["policy=erm"], lambda run: Weights()),
    "rgd": (["policy=rgd"], lambda run: plain_loop.Rgd(1.0, sum_one=False)),
    "rgd_sum_one": (
        ["policy=rgd", "policy.normalization=sum_one", "policy.clip=2.0"],
        lambda run: plain_loop.Rgd(2.0, sum_one=True),
    ),
    "group_dro": (
        ["policy=group_dro", "policy.step_size=0.3", "policy.absent=zero_loss", "policy.floor=0"],
        lambda run: plain_loop.GroupDro(counts(run), 0.3, 0.0, frozen=False),
    ),
    "group_dro_frozen": (
        ["policy=group_dro", "policy.step_size=0.3", "policy.adjustment=2.0", "policy.floor=0"],
        lambda run: plain_loop.GroupDro(counts(run), 0.3, 2.0, frozen=True),
    ),
    "also_descent_ascent": (
        ["policy=also", "policy.mode=descent_ascent", "policy.pi_lr=0.3", "policy.pi_decay=0.1"],
        lambda run: plain_loop.Also(1 / counts(run), 0.3, 0.1, optimistic=False),
    ),
    "also_optimistic": (
        ["policy=also", "policy.pi_lr=0.3", "policy.pi_decay=0.1"],
        lambda run: plain_loop.Also(1 / counts(run), 0.3, 0.1, optimistic=True),
    ),
}


def both(folder: Path, method: str, overrides: list[str], plan: Plan) -> tuple[Run, Trace, Weights]:
    """The project's run, the loop by hand, and the state of its weights."""
    options, weights_of = METHODS[method]
    run = assembled(folder, [*COMMON, *options, *overrides])
    model = copy.deepcopy(run.engine.model)
    training = run.data.splits["train"]
    inputs, targets = training.fetch(np.arange(len(training)), None)
    assert isinstance(inputs, torch.Tensor)
    weigh = weights_of(run)
    plan = Plan(**{**vars(plan), "optimistic": method == "also_optimistic"})
    groups = training.columns["label"].values
    trace = plain_loop.train(model, inputs, targets, groups, run.data.order.epoch, weigh, plan)
    with StopSignal() as signals:
        while not run.progress.done:
            advance(run, signals)
    return run, trace, weigh


def assert_same(run: Run, trace: Trace, weigh: Weights) -> None:
    with run.engine.true_point():
        for name, parameter in run.engine.named_weights():
            torch.testing.assert_close(parameter, trace.theta[name], rtol=0, atol=1e-6)
    numbers = list(run.policy.numbers().values())
    if numbers:
        np.testing.assert_allclose(numbers[0].numpy(), weigh.state, rtol=0, atol=1e-6)


@pytest.mark.parametrize("micro", [None, 16])
@pytest.mark.parametrize("method", METHODS)
def test_twenty_steps_are_the_formulas(method: str, micro: int | None, tmp_path: Path) -> None:
    overrides = [] if micro is None else [f"batch.micro={micro}"]
    run, trace, weigh = both(tmp_path, method, overrides, CONSTANT)
    assert min(trace.norms) < 0.7 < max(trace.norms), "the clip has to bind in some steps only"
    assert sorted(set(trace.sizes)) == [423 % SIZE, SIZE]
    assert_same(run, trace, weigh)
    assert float(run.meter.loss) == 0.0
    assert run.progress.samples == sum(trace.sizes)


def cosine(step: int) -> float:
    """Warm-up over 4 steps, then down to a tenth."""
    if step < 4:
        return 0.1 * (step + 1) / 4
    passed = min((step - 4) / (STEPS - 4), 1.0)
    return 0.1 * (0.1 + 0.9 * (1 + math.cos(math.pi * passed)) / 2)


@pytest.mark.parametrize("method", ["rgd", "also_optimistic"])
def test_average_schedule_and_decay_of_matrices(method: str, tmp_path: Path) -> None:
    overrides = [
        "train.ema={decay: 0.8}",
        "train.weight_decay_on=matrices",
        "schedule=cosine",
        "schedule.warmup_steps=4",
        "schedule.warmup_fraction=0",
        "schedule.final_factor=0.1",
        "optimizer.weight_decay=0.1",
    ]
    plan = Plan(
        SIZE,
        STEPS,
        cosine,
        momentum=0.9,
        decay=lambda parameter: 0.1 if parameter.dim() >= 2 else 0.0,
        clip=0.7,
        ema=0.8,
    )
    run, trace, weigh = both(tmp_path, method, overrides, plan)
    assert_same(run, trace, weigh)
    with run.engine.evaluation_weights():
        for name, parameter in run.engine.named_weights():
            torch.testing.assert_close(parameter, trace.average[name], rtol=0, atol=1e-6)
            assert not torch.allclose(parameter, trace.theta[name], rtol=0, atol=1e-4)
