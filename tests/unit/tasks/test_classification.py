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
from framework.evaluation.averages import is_maximized
from framework.registry import registry
from framework.tasks.classification import Classification

#: training samples per class
COUNTS = [160, 80, 10, 40, 20, 5, 30, 60]


def batch_of(targets: Tensor, valid: Tensor | None = None) -> Batch:
    n = len(targets)
    index = torch.arange(n)
    return Batch(
        inputs=torch.zeros(n, 1),
        targets=targets,
        groups=torch.zeros(n, dtype=torch.int64),
        index=index,
        valid=torch.ones(n, dtype=torch.bool) if valid is None else valid,
    )


def task_for(num_classes: int, **options: Any) -> Classification:
    component = registry.get("task", "classification")
    spec = DataSpec((1,), num_classes, tuple(map(str, range(num_classes))))
    counts = COUNTS[:num_classes]
    task: Classification = component.build(
        component.model(name="classification", **options),
        spec=spec,
        class_counts=counts,
        class_shares=[count / sum(counts) for count in counts],
    )
    return task


def sample(n: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, num_classes, generator=generator)
    return logits, torch.randint(0, num_classes, (n,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_losses_are_the_smoothed_cross_entropy_of_each_sample(smoothing: float) -> None:
    logits, targets = sample(20, 5, 0)
    losses = task_for(5, label_smoothing=smoothing).losses(logits, batch_of(targets))
    soft = (1 - smoothing) * F.one_hot(targets, 5) + smoothing / 5
    torch.testing.assert_close(losses, -(soft * logits.log_softmax(1)).sum(1))
    assert losses.shape == (20,)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_losses_are_at_least_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    logits, targets = sample(4, 3, 0)
    losses = task_for(3).losses(logits.to(dtype).requires_grad_(), batch_of(targets))
    assert losses.dtype == expected
    assert losses.requires_grad


def test_wrong_width_of_the_outputs_is_caught() -> None:
    logits, targets = sample(4, 3, 0)
    with pytest.raises(AssertionError, match=r"logits must be \(4, 5\); got \(4, 3\)"):
        task_for(5).losses(logits, batch_of(targets))


def test_measures_against_sklearn() -> None:
    logits, targets = sample(200, 6, 1)
    task = task_for(6, top_k=[2, 4])
    measures = task.measures(logits, batch_of(targets))
    assert set(measures) == {"loss", "accuracy", "top2_accuracy", "top4_accuracy"}
    assert all(values.shape == (200,) for values in measures.values())
    assert measures["accuracy"].mean() == pytest.approx(metrics.accuracy_score(targets, logits.argmax(1)))
    for k in (2, 4):
        expected = metrics.top_k_accuracy_score(targets, logits, k=k)
        assert measures[f"top{k}_accuracy"].mean() == pytest.approx(expected)
    assert measures["loss"].mean() == pytest.approx(
        metrics.log_loss(targets, logits.double().softmax(1)), rel=1e-6
    )
    better_larger = ("accuracy", "worst_group_top2_accuracy", "macro_f1", "group_average_accuracy")
    assert all(is_maximized(name, task.maximize) for name in better_larger)
    assert not any(is_maximized(name, task.maximize) for name in ("loss", "worst_group_loss", "ece"))


def calibration_error(logits: Tensor, targets: Tensor) -> float:
    """Guo et al., equation 3, bin by bin."""
    probabilities = logits.double().softmax(1).numpy()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == targets.numpy()
    error = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return error


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60),
    num_classes=st.integers(2, 8),
    seed=st.integers(0, 10_000),
    cut=st.integers(0, 60),
    filler=st.integers(0, 5),
)
def test_sums_over_parts_give_the_metrics_of_the_whole(
    n: int, num_classes: int, seed: int, cut: int, filler: int
) -> None:
    logits, targets = sample(n, num_classes, seed)
    task = task_for(num_classes)
    first = task.statistics(logits[:cut], batch_of(targets[:cut]))
    # The second part carries filler rows, as the last batch of a split does; they count nowhere.
    padded = torch.cat([logits[cut:], torch.full((filler, num_classes), float("nan"))])
    valid = torch.arange(len(padded)) < len(logits[cut:])
    second = task.statistics(padded, batch_of(F.pad(targets[cut:], (0, filler)), valid))
    summary = task.summarize({name: first[name] + second[name] for name in first})

    predictions = logits.double().argmax(1)
    assert torch.equal(
        (first["confusion"] + second["confusion"]).long(),
        torch.from_numpy(metrics.confusion_matrix(targets, predictions, labels=range(num_classes))),
    )
    recalls = metrics.recall_score(targets, predictions, average=None, labels=targets.unique())
    assert summary["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert summary["worst_class_accuracy"] == pytest.approx(min(recalls))
    assert summary["macro_f1"] == pytest.approx(metrics.f1_score(targets, predictions, average="macro"))
    assert summary["ece"] == pytest.approx(calibration_error(logits, targets), abs=1e-12)


def test_confidence_on_the_edges_of_the_bins_is_kept() -> None:
    """Certain predictions fall in the last bin, and nothing falls outside."""
    logits = torch.tensor([[1e4, 0.0], [0.0, 0.0], [0.0, 1e4]])
    calibration = task_for(2).statistics(logits, batch_of(torch.tensor([0, 1, 0])))["calibration"]
    assert calibration[0].tolist() == [0.0] * 7 + [1.0] + [0.0] * 6 + [2.0]
    assert calibration[2, 14] == 1


def test_no_samples_give_nan() -> None:
    task = task_for(3)
    empty = task.statistics(torch.zeros(0, 3), batch_of(torch.zeros(0, dtype=torch.int64)))
    assert all(np.isnan(value) for value in task.summarize(empty).values())


def test_options_that_do_not_fit_the_data() -> None:
    with pytest.raises(ConfigError, match="the data has 1 class; classification needs two or more"):
        task_for(1)
    with pytest.raises(ConfigError, match="top_k 5 is more than the 3 classes"):
        task_for(3, top_k=[5])
    component = registry.get("task", "classification")
    supplied = {"class_counts": [], "class_shares": []}
    with pytest.raises(ConfigError, match="real-valued targets, not classes; choose task: regression"):
        component.build(component.model(name="classification"), spec=DataSpec((1,), None), **supplied)
    spec, shares = DataSpec((1,), 3, ("a", "b", "c")), [0.5, 0.0, 0.5]
    for option in ("logit_adjustment", "post_hoc_adjustment", "max_margin"):
        options = component.model(name="classification", **{option: 1.0})
        with pytest.raises(ConfigError, match=f"{option} needs training samples of every class; none of: b"):
            component.build(options, spec=spec, class_counts=shares, class_shares=shares)


@pytest.mark.parametrize("tau", [-0.5, 1.0, 2.0])
def test_the_logit_adjusted_loss_is_a_softmax_weighted_by_the_shares(tau: float) -> None:
    """-log pi_y^tau e^f_y / sum_k pi_k^tau e^f_k: equation 10, and balanced softmax at tau 1."""
    logits, targets = sample(20, 5, 0)
    odds = (torch.tensor(COUNTS[:5]) / sum(COUNTS[:5])) ** tau * logits.exp()
    expected = -(odds / odds.sum(1, keepdim=True))[range(20), targets].log()
    task = task_for(5, logit_adjustment=tau)
    torch.testing.assert_close(task.losses(logits, batch_of(targets)), expected)
    accuracy = task.measures(logits, batch_of(targets))["accuracy"]
    assert torch.equal(accuracy, (logits.argmax(1) == targets).float())


def test_post_hoc_adjustment_changes_predictions_and_not_the_loss() -> None:
    """argmax of e^f_y / pi_y: equation 9."""
    logits, targets = sample(200, 5, 0)
    task = task_for(5, post_hoc_adjustment=1.0)
    plain = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(task.losses(logits, batch_of(targets)), plain)
    predicted = (logits.exp() / torch.tensor(COUNTS[:5])).argmax(1)
    assert not torch.equal(predicted, logits.argmax(1))
    measured = task.measures(logits, batch_of(targets))["accuracy"]
    assert torch.equal(measured, (predicted == targets).float())
    confusion = task.statistics(logits, batch_of(targets))["confusion"]
    assert confusion.sum(0).tolist() == predicted.bincount(minlength=5).tolist()


def test_ldam_lowers_the_logit_of_the_target() -> None:
    """Cao et al., equation 13: Delta_y = C / n_y^(1/4), C such that the rarest class has max_margin."""
    logits, targets = sample(20, 5, 0)
    constant = 0.5 * min(COUNTS[:5]) ** 0.25
    lowered = logits.clone()
    for i, y in enumerate(targets.tolist()):
        lowered[i, y] -= constant / COUNTS[y] ** 0.25
    losses = task_for(5, max_margin=0.5, scale=30.0).losses(logits, batch_of(targets))
    torch.testing.assert_close(losses, F.cross_entropy(30.0 * lowered, targets, reduction="none"))
