"""Language modelling: a loss per sequence, and perplexity from sums over tokens."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.batch import NO_TOKEN, Batch, DataSpec
from framework.registry import register
from framework.tasks.base import Task


@register.task("language_modeling")
class LanguageModeling(Task):
    """Next-token prediction. A sample is one sequence; its loss is the mean over its counted tokens.

    A token counts unless its target is -100; a sequence without any has loss 0. The policy also gets, per
    sample, `num_tokens`; and where the data has `token_baseline_loss` (n, tokens) of a reference model,
    its mean `baseline_loss` and `excess_loss`, the mean over tokens of max(loss - baseline, 0), which
    DoReMi clips token by token (arXiv 2305.10429, Algorithm 1).

    Args:
        unit: `sequence` counts every sequence alike; `token` multiplies a sequence's loss by its number
            of tokens over their mean in the global batch, so that equal weights of the samples give the
            mean over all tokens of the global batch.
    """

    def __init__(self, spec: DataSpec, *, unit: Literal["sequence", "token"] = "sequence") -> None:
        if not spec.next_tokens:
            raise ValueError(
                f"needs text in blocks for language modelling; the data is {spec.kind}"
                f" (choose task: {'regression' if spec.num_classes is None else 'classification'})"
            )
        self.num_tokens = spec.num_outputs
        self.unit = unit
        self.maximize = frozenset({"accuracy", "token_accuracy"})

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Losses (micro,) of logits (micro, tokens, vocabulary), in float32 at least."""
        per_token, counted = self._per_token(outputs, batch)
        losses = _mean(per_token, counted)
        if self.unit == "sequence":
            return losses
        return losses * (batch.extra["num_tokens"] / batch.means["num_tokens"])

    def columns(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`baseline_loss` and `excess_loss` (micro,), where the data has `token_baseline_loss`."""
        baseline = batch.extra.get("token_baseline_loss")
        if baseline is None:
            return {}
        per_token, counted = self._per_token(outputs, batch)
        return {
            "baseline_loss": _mean(baseline, counted),
            "excess_loss": _mean((per_token - baseline).clamp(min=0), counted),
        }

    def column_names(self, available: Collection[str]) -> tuple[str, ...]:
        """Both, or none."""
        return ("baseline_loss", "excess_loss") if "token_baseline_loss" in available else ()

    def token_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The loss of each token (micro, tokens), 0 where none is counted."""
        return self._per_token(outputs, batch)[0]

    def measures(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss` and `accuracy` of each sequence, (micro,): means over its counted tokens."""
        per_token, counted = self._per_token(outputs, batch)
        correct = (outputs.argmax(dim=2) == batch.targets).to(per_token.dtype)
        return {"loss": _mean(per_token, counted), "accuracy": _mean(correct, counted)}

    def statistics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over the counted tokens, float64: `tokens` is (4,).

        Their number, their loss, the correct predictions, and the bytes of text that they stand for.
        """
        per_token, counted = self._per_token(outputs, batch)
        counted = counted & batch.valid[:, None]
        correct = outputs.argmax(dim=2) == batch.targets
        num_bytes = batch.extra.get("num_bytes", torch.full_like(batch.index, math.nan, dtype=torch.float32))
        return {
            "tokens": torch.stack(
                [
                    counted.double().sum(),
                    per_token.double().where(counted, 0.0).sum(),
                    (correct & counted).double().sum(),
                    num_bytes.double().where(batch.valid, 0.0).sum(),
                ]
            )
        }

    def summarize(self, statistics: dict[str, Tensor]) -> dict[str, float]:
        """`token_loss`, `perplexity`, `token_accuracy` and, where bytes are known, `bits_per_byte`.

        All over every counted token of the split alike; perplexity is the exponential of `token_loss`.
        """
        count, loss, correct, num_bytes = statistics["tokens"].double().cpu()
        summary = {
            "token_loss": (loss / count).item(),
            "perplexity": (loss / count).exp().item(),
            "token_accuracy": (correct / count).item(),
        }
        if num_bytes > 0:
            summary["bits_per_byte"] = (loss / num_bytes).item() / math.log(2)
        return summary

    def _per_token(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of each token, 0 where none is counted, and which are counted, both (micro, tokens)."""
        shape = (*batch.targets.shape, self.num_tokens)
        assert outputs.shape == shape, f"logits must be {shape}; got {tuple(outputs.shape)}"
        logits = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        losses = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), reduction="none", ignore_index=NO_TOKEN
        )
        return losses.view_as(batch.targets), batch.targets != NO_TOKEN


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """(micro, tokens) to the mean of each row over its counted tokens, 0 where there are none."""
    return values.where(counted, 0.0).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
