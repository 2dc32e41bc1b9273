"""Regression: a loss per sample, and RMSE, MAE and R² from sums."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.batch import Batch, DataSpec
from framework.options import Positive
from framework.registry import register
from framework.tasks.base import Task


@register.task("regression")
class Regression(Task):
    """Real-valued targets, one or several per sample; a sample's loss is the mean over its targets.

    Args:
        loss: `mse` squared error, `absolute` error, or `huber`, which is quadratic up to `delta`.
        delta: where the Huber loss turns linear, in units of the target.
    """

    def __init__(
        self, spec: DataSpec, *, loss: Literal["mse", "huber", "absolute"] = "mse", delta: Positive = 1.0
    ) -> None:
        if spec.next_tokens:
            raise ValueError(f"the data is {spec.kind}; choose task: language_modeling")
        if spec.num_classes is not None:
            raise ValueError(
                f"the data has {spec.num_classes} classes, not real-valued targets;"
                " choose task: classification"
            )
        self.num_targets = spec.num_targets
        self.loss = loss
        self.delta = delta
        self.maximize = frozenset({"r2"})

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Losses (micro,) of outputs (micro, targets), in float32 at least."""
        predictions, targets = self._matched(outputs, batch)
        if self.loss == "mse":
            errors = F.mse_loss(predictions, targets, reduction="none")
        elif self.loss == "absolute":
            errors = F.l1_loss(predictions, targets, reduction="none")
        else:
            errors = F.huber_loss(predictions, targets, reduction="none", delta=self.delta)
        return errors.mean(dim=1)

    def measures(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss`, `squared_error` and `absolute_error`, each (micro,), in units of the targets."""
        predictions, targets = self._matched(outputs, batch)
        error = predictions - targets
        return {
            "loss": self.losses(outputs, batch),
            "squared_error": error.square().mean(dim=1),
            "absolute_error": error.abs().mean(dim=1),
        }

    def statistics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over the valid samples, float64: `regression` is (5, targets).

        Its rows are the count, y, y², (y - prediction)² and |y - prediction|.
        """
        predictions, targets = (side.double() for side in self._matched(outputs, batch))
        error = targets - predictions
        rows = torch.stack([torch.ones_like(targets), targets, targets.square(), error.square(), error.abs()])
        return {"regression": rows.where(batch.valid[:, None], 0.0).sum(dim=1)}

    def summarize(self, statistics: dict[str, Tensor]) -> dict[str, float]:
        """`rmse`, `mae` and `r2`; NaN without samples.

        Errors are averaged over samples and targets; R² is the mean of the targets' own, and where a
        target is constant it is 1 for a perfect prediction and 0 for any other.
        """
        count, total, squares, squared_error, absolute_error = statistics["regression"].double().cpu()
        spread = squares - total.square() / count
        # A constant target's spread is what rounding leaves of its square.
        constant = spread <= 1e-12 * squares
        r2 = torch.where(constant, (squared_error == 0).double(), 1 - squared_error / spread)
        return {
            "rmse": (squared_error.sum() / count.sum()).sqrt().item(),
            "mae": (absolute_error.sum() / count.sum()).item(),
            "r2": r2.mean().item() if count.sum() > 0 else float("nan"),
        }

    def _matched(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predictions and targets, both (micro, targets)."""
        shape = (len(batch), self.num_targets)
        assert outputs.numel() == batch.targets.numel() == shape[0] * shape[1], (
            f"outputs {tuple(outputs.shape)} and targets {tuple(batch.targets.shape)} must be {shape}"
        )
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        return outputs.to(dtype).reshape(shape), batch.targets.to(dtype).reshape(shape)
