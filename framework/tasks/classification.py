"""Classification: cross-entropy per sample, and every metric from a confusion matrix and 15 bins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.batch import Batch, DataSpec
from framework.options import Count, Finite, Fraction, NonNegative, Positive
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
        logit_adjustment: tau of the logit-adjusted loss (Menon et al., ICLR 2021, arXiv 2007.07314, equation
            10): tau log(share of the class in a training batch) is added to each logit in the loss, and
            not in predictions, which then suit balanced classes. 1 is balanced softmax (Ren et al.,
            NeurIPS 2020, arXiv 2007.10740), 0 plain cross-entropy.
        post_hoc_adjustment: tau subtracted as tau log(share) from the logits in predictions alone (Menon et
            al., equation 9), for a model trained by plain cross-entropy.
        max_margin: LDAM (Cao et al., NeurIPS 2019, arXiv 1906.07413): the target's logit is lowered in
            the loss by max_margin (n_min / n_y)^(1/4), n_y the training samples of its class. The
            authors take 0.5, with `scale` 30 and a model with `head: cosine`. 0 is no margin.
        scale: factor on the logits, after margins: the inverse temperature of normalised logits.

    Raises:
        ValueError: the data has no classes, or one without training samples where its share is needed.
    """

    def __init__(
        self,
        spec: DataSpec,
        class_counts: Sequence[float] = (),
        class_shares: Sequence[float] = (),
        *,
        label_smoothing: Fraction = 0.0,
        top_k: list[Count] = [],  # noqa: B006
        logit_adjustment: Finite = 0.0,
        post_hoc_adjustment: Finite = 0.0,
        max_margin: NonNegative = 0.0,
        scale: Positive = 1.0,
    ) -> None:
        if spec.next_tokens:
            raise ValueError(f"the data is {spec.kind}; choose task: language_modeling")
        if spec.num_classes is None:
            raise ValueError("the data has real-valued targets, not classes; choose task: regression")
        if spec.num_classes < 2:
            raise ValueError(f"the data has {spec.num_classes} class; classification needs two or more")
        if top_k and max(top_k) > spec.num_classes:
            raise ValueError(f"top_k {max(top_k)} is more than the {spec.num_classes} classes of the data")
        self.num_classes = spec.num_classes
        self.label_smoothing = label_smoothing
        self.gives_log_probability = label_smoothing == 0
        self.scale = scale
        self.in_loss: Tensor | None = None
        self.in_predictions: Tensor | None = None
        self.margins: Tensor | None = None
        if logit_adjustment:
            self.in_loss = logit_adjustment * _of_every_class(spec, class_shares, "logit_adjustment").log()
        if post_hoc_adjustment:
            shares = _of_every_class(spec, class_shares, "post_hoc_adjustment")
            self.in_predictions = -post_hoc_adjustment * shares.log()
        if max_margin:
            counts = _of_every_class(spec, class_counts, "max_margin")
            self.margins = max_margin * (counts.min() / counts) ** 0.25
        self.top_k = {f"top{k}_accuracy": k for k in top_k}
        self.maximize = frozenset(
            ["accuracy", *self.top_k, "balanced_accuracy", "worst_class_accuracy", "macro_f1"]
        )

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy (micro,) of logits (micro, classes), in float32 at least."""
        assert outputs.shape == (len(batch), self.num_classes), (
            f"logits must be ({len(batch)}, {self.num_classes}); got {tuple(outputs.shape)}"
        )
        logits = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if self.margins is not None:
            self.margins = self.margins.to(logits.device)
            margins = self.margins.to(logits.dtype)[batch.targets, None]
            logits = logits.scatter_add(1, batch.targets[:, None], -margins)
        if self.scale != 1.0:
            logits = self.scale * logits
        if self.in_loss is not None:
            self.in_loss = self.in_loss.to(logits.device)
            logits = logits + self.in_loss.to(logits.dtype)
        losses = F.cross_entropy(
            logits, batch.targets, reduction="none", label_smoothing=self.label_smoothing
        )
        assert losses.dim() == 1, f"losses must be per sample, (n,); got shape {tuple(losses.shape)}"
        return losses

    def scores(self, outputs: Tensor) -> Tensor:
        """What predictions and their confidence are made of, (micro, classes)."""
        scores = outputs if self.scale == 1.0 else self.scale * outputs
        if self.in_predictions is None:
            return scores
        self.in_predictions = self.in_predictions.to(scores.device)
        return scores + self.in_predictions.to(scores.dtype)

    def measures(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `accuracy` and one `topK_accuracy` per K, each (micro,)."""
        scores = self.scores(outputs)
        correct = scores.argmax(dim=1) == batch.targets
        measures = {"loss": self.losses(outputs, batch), "accuracy": correct.float()}
        if self.top_k:
            ranked = scores.topk(max(self.top_k.values()), dim=1).indices
            hits = ranked == batch.targets[:, None]
            measures |= {name: hits[:, :k].any(dim=1).float() for name, k in self.top_k.items()}
        return measures

    def statistics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over the valid samples, float64.

        `confusion` is (classes, classes), target by prediction; `calibration` is (3, 15): count, summed
        confidence and number of correct predictions per bin of confidence.
        """
        valid = batch.valid.double()
        confidence, predictions = self.scores(outputs).double().softmax(dim=1).max(dim=1)
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


def _of_every_class(spec: DataSpec, values: Sequence[float], option: str) -> Tensor:
    """`values` (classes,) float64, none of them 0."""
    found = torch.tensor(values, dtype=torch.float64)
    assert len(found) == spec.num_classes, "the assembly gives one number per class"
    missing = [spec.class_names[i] for i in (found == 0).nonzero()[:, 0].tolist()]
    if missing:
        raise ValueError(f"{option} needs training samples of every class; none of: {', '.join(missing)}")
    return found
