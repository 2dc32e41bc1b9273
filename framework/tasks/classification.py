"""Classification: cross-entropy per sample, and every metric from a confusion matrix and 15 bins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.batch import Batch, DataSpec
from framework.options import Count, Fraction
from framework.registry import register
from framework.tasks.base import Task

#: Number of equal-width confidence bins of the calibration error (Guo et al., arXiv 1706.04599, section 5).
NUM_BINS = 15


@register.task("classification")
class Classification(Task):
    """One class per sample, softmax cross-entropy; the metric `loss` is the same loss as in training.

    Args:
        label_smoothing: share of the target spread evenly over all classes.
        top_k: also measure `topK_accuracy`, the target being among the K largest outputs, for each K.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        label_smoothing: Fraction = 0.0,
        top_k: list[Count] = [],  # noqa: B006
    ) -> None:
        if spec.next_tokens:
            raise ValueError(f"the data is {spec.kind}; choose task: language_modeling")
        if spec.num_classes is None:
            raise ValueError("the data has real-valued targets, not classes; choose task: regression")
        if top_k and max(top_k) > spec.num_classes:
            raise ValueError(f"top_k {max(top_k)} is more than the {spec.num_classes} classes of the data")
        self.num_classes = spec.num_classes
        self.label_smoothing = label_smoothing
        self.top_k = {f"top{k}_accuracy": k for k in top_k}
        averaged = ["accuracy", *self.top_k]
        self.maximize = frozenset(
            [
                f"{prefix}{name}"
                for prefix in ("", "worst_group_", "group_average_", "weighted_")
                for name in averaged
            ]
            + ["balanced_accuracy", "worst_class_accuracy", "macro_f1"]
        )

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy (micro,) of logits (micro, classes), in float32 at least."""
        assert outputs.shape == (len(batch), self.num_classes), (
            f"logits must be ({len(batch)}, {self.num_classes}); got {tuple(outputs.shape)}"
        )
        logits = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        losses = F.cross_entropy(
            logits, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        assert losses.dim() == 1, f"losses must be per sample, (n,); got shape {tuple(losses.shape)}"
        return losses

    def measures(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `accuracy` and one `topK_accuracy` per K, each (micro,)."""
        correct = outputs.argmax(dim=1) == batch.targets
        measures = {"loss": self.losses(outputs, batch), "accuracy": correct.float()}
        if self.top_k:
            ranked = outputs.topk(max(self.top_k.values()), dim=1).indices
            hits = ranked == batch.targets[:, None]
            measures |= {name: hits[:, :k].any(dim=1).float() for name, k in self.top_k.items()}
        return measures

    def statistics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over the valid samples, float64.

        `confusion` is (classes, classes), target by prediction; `calibration` is (3, 15): count, summed
        confidence and number of correct predictions per bin of confidence.
        """
        valid = batch.valid.double()
        confidence, predictions = outputs.double().softmax(dim=1).max(dim=1)
        # Bincount would wait for the device to learn its size; adding into a fixed shape does not.
        cells = batch.targets * self.num_classes + predictions
        confusion = valid.new_zeros(self.num_classes**2).index_add_(0, cells, valid)
        # The bins are (0, 1/15], (1/15, 2/15], ...
        bins = (confidence * NUM_BINS).ceil().long().clamp_(1, NUM_BINS) - 1
        columns = torch.stack(
            [torch.ones_like(confidence), confidence, (predictions == batch.targets).double()]
        )
        columns = columns.where(batch.valid, 0.0)
        return {
            "confusion": confusion.view(self.num_classes, self.num_classes),
            "calibration": valid.new_zeros(3, NUM_BINS).index_add_(1, bins, columns),
        }

    def summarize(self, statistics: dict[str, Tensor]) -> dict[str, float]:
        """`balanced_accuracy`, `worst_class_accuracy`, `macro_f1` and `ece`; NaN without samples.

        The first two are over the classes that have samples; F1 also counts those that were only
        predicted; `ece` is the expected calibration error (arXiv 1706.04599, equation 3).
        """
        confusion = statistics["confusion"].double().cpu()
        hits, targets, predictions = confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0)
        recall = (hits / targets)[targets > 0]
        seen = targets + predictions
        f1 = (2 * hits / seen)[seen > 0]
        count, confidence, correct = statistics["calibration"].double().cpu()
        return {
            "balanced_accuracy": recall.mean().item(),
            "worst_class_accuracy": recall.min().item() if len(recall) else float("nan"),
            "macro_f1": f1.mean().item(),
            "ece": ((correct - confidence).abs().sum() / count.sum()).item(),
        }
