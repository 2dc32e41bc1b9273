import math
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.data.batch import NO_TOKEN, Batch, DataSpec
from framework.errors import ConfigError
from framework.registry import registry
from framework.tasks.language_modeling import LanguageModeling

VOCABULARY = 5
TARGETS = torch.tensor([[1, 4, 0], [2, NO_TOKEN, NO_TOKEN], [NO_TOKEN, NO_TOKEN, NO_TOKEN]])


def batch_of(targets: Tensor, means: dict[str, float] | None = None, **extra: Tensor) -> Batch:
    n = len(targets)
    return Batch(
        inputs=torch.zeros_like(targets),
        targets=targets,
        groups=torch.zeros(n, dtype=torch.int64),
        index=torch.arange(n),
        valid=torch.ones(n, dtype=torch.bool),
        extra=extra,
        means=means or {},
    )


def task_for(spec: DataSpec | None = None, **options: Any) -> LanguageModeling:
    component = registry.get("task", "language_modeling")
    spec = spec or DataSpec((3,), None, num_tokens=VOCABULARY, next_tokens=True)
    task: LanguageModeling = component.build(component.model(name="language_modeling", **options), spec=spec)
    return task


def token_losses(outputs: Tensor, targets: Tensor) -> list[list[float]]:
    """Minus the log-probability of each counted token, by the definition."""
    return [
        [
            -math.log(math.exp(logits[t]) / sum(map(math.exp, logits)))
            for logits, t in zip(rows.tolist(), row.tolist(), strict=True)
            if t != NO_TOKEN
        ]
        for rows, row in zip(outputs, targets, strict=True)
    ]


def test_the_loss_of_a_sequence_is_the_mean_over_its_counted_tokens() -> None:
    outputs = torch.randn(3, 3, VOCABULARY, dtype=torch.float64)
    found = task_for().losses(outputs, batch_of(TARGETS)).tolist()
    expected = [sum(row) / len(row) if row else 0.0 for row in token_losses(outputs, TARGETS)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_equal_weights_of_the_unit_token_give_the_mean_over_all_tokens() -> None:
    outputs = torch.randn(3, 3, VOCABULARY, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([3.0, 1.0, 0.0])
    batch = batch_of(TARGETS, {"num_tokens": 4 / 3}, num_tokens=counts)
    mean = task_for(unit="token").losses(outputs, batch).mean()
    rows = token_losses(outputs.detach(), TARGETS)
    assert mean.item() == pytest.approx(sum(map(sum, rows)) / 4, rel=1e-12)
    (gradient,) = torch.autograd.grad(mean, outputs)
    assert gradient[TARGETS == NO_TOKEN].abs().max() == 0
    assert gradient[0, 0].tolist() == pytest.approx(
        ((outputs[0, 0].softmax(0) - torch.eye(VOCABULARY)[1]) / 4).tolist(), rel=1e-6
    )


def test_the_excess_loss_is_clipped_token_by_token() -> None:
    """DoReMi's Algorithm 1 clips each token; the mean of the differences would be less."""
    outputs = torch.randn(3, 3, VOCABULARY, dtype=torch.float64)
    baseline = torch.full((3, 3), 1.7, dtype=torch.float64)
    columns = task_for().columns(outputs, batch_of(TARGETS, token_baseline_loss=baseline))
    rows = token_losses(outputs, TARGETS)
    expected = [sum(max(loss - 1.7, 0) for loss in row) / max(len(row), 1) for row in rows]
    assert columns["excess_loss"].tolist() == pytest.approx(expected, rel=1e-12)
    assert columns["baseline_loss"].tolist() == pytest.approx([1.7, 1.7, 0.0])
    assert task_for().columns(outputs, batch_of(TARGETS)) == {}


def test_metrics_are_over_tokens_however_they_are_cut_into_batches() -> None:
    outputs = torch.randn(3, 3, VOCABULARY, dtype=torch.float64)
    num_bytes = torch.tensor([6.0, 2.0, 0.0])
    task = task_for()

    def sums(rows: slice) -> Tensor:
        return task.statistics(outputs[rows], batch_of(TARGETS[rows], num_bytes=num_bytes[rows]))["tokens"]

    summary = task.summarize({"tokens": sums(slice(0, 1)) + sums(slice(1, 3))})
    losses = [loss for row in token_losses(outputs, TARGETS) for loss in row]
    hits = (outputs.argmax(2) == TARGETS).sum().item()
    assert summary == pytest.approx(
        {
            "token_loss": sum(losses) / 4,
            "perplexity": math.exp(sum(losses) / 4),
            "token_accuracy": hits / 4,
            "bits_per_byte": sum(losses) / math.log(2) / 8,
        }
    )
    assert "bits_per_byte" not in task.summarize(task.statistics(outputs, batch_of(TARGETS)))


def test_filler_rows_count_in_no_sum() -> None:
    outputs = torch.randn(2, 3, VOCABULARY)
    whole = batch_of(TARGETS[:1], num_bytes=torch.ones(1))
    filled = batch_of(TARGETS[:1].repeat(2, 1), num_bytes=torch.ones(2))
    filled.valid[1] = False
    task = task_for()
    torch.testing.assert_close(task.statistics(outputs[:1], whole), task.statistics(outputs, filled))


def test_measures_are_per_sequence() -> None:
    outputs = torch.zeros(3, 3, VOCABULARY)
    outputs[0, 0, 1] = outputs[0, 1, 4] = outputs[0, 2, 3] = 1.0
    measures = task_for().measures(outputs, batch_of(TARGETS))
    assert measures["accuracy"].tolist() == pytest.approx([2 / 3, 0.0, 0.0])


@pytest.mark.parametrize(
    ("task", "spec", "message"),
    [
        (
            "language_modeling",
            DataSpec((1, 8, 8), 10),
            "images .*choose task: classification",
        ),
        ("language_modeling", DataSpec((3,), None), "numbers of shape 3 .choose task: regression"),
        ("classification", DataSpec((3,), None, num_tokens=5, next_tokens=True), "task: language_modeling"),
        ("regression", DataSpec((3,), None, num_tokens=5, next_tokens=True), "task: language_modeling"),
    ],
)
def test_data_of_another_kind_is_refused(task: str, spec: DataSpec, message: str) -> None:
    component = registry.get("task", task)
    with pytest.raises(ConfigError, match=message):
        component.build(component.model(name=task), spec=spec, class_counts=[], class_shares=[])
