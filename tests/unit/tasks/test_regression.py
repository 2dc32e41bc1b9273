from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor

from framework.data.batch import Batch, DataSpec
from framework.errors import ConfigError
from framework.registry import registry
from framework.tasks.regression import Regression


def batch_of(targets: Tensor, valid: Tensor | None = None) -> Batch:
    n = len(targets)
    return Batch(
        inputs=torch.zeros(n, 1),
        targets=targets,
        groups=torch.zeros(n, dtype=torch.int64),
        index=torch.arange(n),
        valid=torch.ones(n, dtype=torch.bool) if valid is None else valid,
    )


def task_for(num_targets: int, **options: Any) -> Regression:
    component = registry.get("task", "regression")
    spec = DataSpec((1,), None, num_targets=num_targets)
    task: Regression = component.build(component.model(name="regression", **options), spec=spec)
    return task


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1.625, 0.125]),
        ({"loss": "absolute"}, [1.25, 0.25]),
        ({"loss": "huber"}, [0.75, 0.0625]),
        ({"loss": "huber", "delta": 0.5}, [0.4375 + 0.0625, 0.0625]),
    ],
)
def test_losses_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    outputs = torch.tensor([[2.5, 1.0], [0.5, 0.0]])
    assert task_for(2, **options).losses(outputs, batch_of(targets)).tolist() == expected


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_scalar_targets_and_column_outputs_do_not_broadcast(shape: tuple[int, ...]) -> None:
    targets, outputs = torch.randn(5), torch.randn(5, 1)
    losses = task_for(1).losses(outputs, batch_of(targets.reshape(shape)))
    torch.testing.assert_close(losses, (outputs[:, 0] - targets) ** 2)


def test_mismatching_widths_are_caught() -> None:
    with pytest.raises(AssertionError, match=r"outputs \(5, 2\) and targets \(5,\) must be \(5, 1\)"):
        task_for(1).losses(torch.randn(5, 2), batch_of(torch.randn(5)))


def test_measures_are_per_sample() -> None:
    targets, outputs = torch.randn(6, 2), torch.randn(6, 2)
    measures = task_for(2, loss="huber").measures(outputs, batch_of(targets))
    torch.testing.assert_close(measures["loss"], F.huber_loss(outputs, targets, reduction="none").mean(1))
    torch.testing.assert_close(measures["squared_error"], ((outputs - targets) ** 2).mean(1))
    torch.testing.assert_close(measures["absolute_error"], (outputs - targets).abs().mean(1))


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 60),
    width=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    cut=st.integers(0, 60),
    offset=st.sampled_from([0.0, 2000.0]),
)
def test_sums_over_parts_give_the_metrics_of_the_whole(
    n: int, width: int, seed: int, cut: int, offset: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(n, width, generator=generator) + offset
    outputs = targets + 0.3 * torch.randn(n, width, generator=generator)
    task = task_for(width)
    first = task.statistics(outputs[:cut], batch_of(targets[:cut]))
    # One filler row at the end, which counts nowhere.
    filler = torch.full((1, width), float("nan"))
    second = task.statistics(
        torch.cat([outputs[cut:], filler]),
        batch_of(
            torch.cat([targets[cut:], filler]), torch.arange(len(outputs[cut:]) + 1) < len(outputs[cut:])
        ),
    )
    summary = task.summarize({name: first[name] + second[name] for name in first})
    truth, guess = targets.double().numpy(), outputs.double().numpy()
    assert summary["rmse"] == pytest.approx(np.sqrt(metrics.mean_squared_error(truth, guess)))
    assert summary["mae"] == pytest.approx(metrics.mean_absolute_error(truth, guess))
    assert summary["r2"] == pytest.approx(metrics.r2_score(truth, guess), rel=1e-6, abs=1e-6)


def test_constant_target_and_no_samples() -> None:
    task = task_for(1)
    targets = torch.full((7,), 0.1)

    def r2(outputs: Tensor) -> float:
        return task.summarize(task.statistics(outputs, batch_of(targets)))["r2"]

    assert r2(targets.clone()) == 1
    assert r2(targets + 1) == 0
    empty = task.summarize(task.statistics(torch.zeros(0), batch_of(torch.zeros(0))))
    assert all(np.isnan(value) for value in empty.values())


def test_classes_are_a_config_error() -> None:
    component = registry.get("task", "regression")
    with pytest.raises(ConfigError, match=r"the data has 3 classes, .* choose task: classification"):
        component.build(component.model(name="regression"), spec=DataSpec((1,), 3))
