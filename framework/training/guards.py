"""Whether a step may be taken: a verdict that every rank must share."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from torch import Tensor

from framework.engines.precision import LossScale
from framework.errors import TrainingError
from framework.policies.base import SampleLosses
from framework.training.progress import Progress

logger = logging.getLogger("framework.guards")


class NonFiniteGuard:
    """Skips steps whose losses or gradients are not finite, and stops the run after too many in a row.

    A skipped step consumed its batch and its number; parameters, optimizer state and policy are as before
    it. The losses are gathered and the norm is global, so every rank comes to the same verdict.
    """

    def __init__(self, max_skipped: int, last_good: Callable[[], str]) -> None:
        self.max_skipped = max_skipped
        self.last_good = last_good

    def losses_ok(self, samples: SampleLosses, progress: Progress) -> bool:
        """Whether all losses of the global batch are finite.

        Raises:
            TrainingError: too many steps in a row were skipped.
        """
        # Reads one flag from the device: it decides a branch that must not be taken wrongly.
        if math.isfinite(float(samples.loss.sum())):
            return True
        finite = samples.loss.isfinite()
        if bool(finite.all()):
            return True  # only their sum overflows
        culprits = samples.index[~finite].tolist()
        shown = ", ".join(map(str, culprits[:8])) + (", ..." if len(culprits) > 8 else "")
        self._skip(progress, f"the loss of {len(culprits)} training sample(s) is not finite (index {shown})")
        return False

    def gradient_ok(self, norm: Tensor, progress: Progress, loss_scale: LossScale | None = None) -> bool:
        """Whether the global gradient norm is finite; else the loss scale, if there is one, falls.

        As long as it can fall, the overflow is its own fault and does not count as a skipped step.

        Raises:
            TrainingError: too many steps in a row were skipped.
        """
        if math.isfinite(float(norm)):
            return True
        if loss_scale is not None and loss_scale.shrink():
            logger.info(
                "step %d skipped: the gradient overflows in fp16; the loss scale falls to %g",
                progress.step + 1,
                loss_scale.scale,
            )
            return False
        self._skip(progress, "the losses are finite but the gradient is not")
        return False

    def _skip(self, progress: Progress, reason: str) -> None:
        step = progress.step + 1
        progress.skipped += 1
        if progress.skipped > self.max_skipped:
            raise TrainingError(
                f"step {step}: {reason}; {progress.skipped} steps in a row gave non-finite numbers and"
                f" train.max_skipped is {self.max_skipped}. {self.last_good()}"
                " Lower optimizer.lr, set train.clip_norm, or look at these samples."
            )
        logger.warning("step %d skipped: %s (%d in a row)", step, reason, progress.skipped)
