"""In which numbers the forward pass computes, and the loss scale that half precision needs."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from framework.options import Count, Positive

logger = logging.getLogger("framework.engines")

Precision = Literal["fp32", "bf16", "fp16"]

#: what the forward pass is cast to; weights, losses and what the optimizer does are fp32 in any case
CAST: dict[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class LossScaleOptions(BaseModel):
    """How the loss scale of fp16 begins and moves; the defaults are those of torch.amp.GradScaler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial: Positive = 2.0**16
    """The scale of the first step."""
    growth_interval: Count = 2000
    """So many steps in a row without an overflow double it."""
    smallest: Positive = 1.0
    """Where an overflow no longer halves it and counts as a step with non-finite numbers."""


DEFAULT_LOSS_SCALE = LossScaleOptions()


class LossScale:
    """The factor on the gradient while it passes through fp16, which would lose small numbers.

    It doubles after `growth_interval` steps without an overflow and is halved by one (Micikevicius et al.
    2018, "Mixed Precision Training", section 3.2). Every rank decides by the global gradient norm, so it
    is the same everywhere. Powers of two cancel exactly.
    """

    def __init__(self, options: LossScaleOptions) -> None:
        self.options = options
        self.scale = max(options.initial, options.smallest)
        self.good_steps = 0

    def grow(self) -> None:
        """Count a step that was taken."""
        self.good_steps += 1
        if self.good_steps == self.options.growth_interval:
            self.scale *= 2.0
            self.good_steps = 0

    def shrink(self) -> bool:
        """Answer an overflow; False if the scale cannot fall further, so that it is not the cause."""
        self.good_steps = 0
        if self.scale <= self.options.smallest:
            return False
        self.scale = max(self.scale / 2.0, self.options.smallest)
        return True

    def state_dict(self) -> dict[str, Any]:
        """The scale and how many steps it has held."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over both."""
        self.scale, self.good_steps = state["scale"], state["good_steps"]


def make_loss_scale(precision: Precision, options: LossScaleOptions) -> LossScale | None:
    """A loss scale for fp16, None for what needs none."""
    return LossScale(options) if precision == "fp16" else None


def restore_loss_scale(loss_scale: LossScale | None, saved: dict[str, Any] | None) -> None:
    """Take over the loss scale of a checkpoint; the log says when one side has none."""
    if loss_scale is not None and saved is not None:
        loss_scale.load_state_dict(saved)
    elif loss_scale is not None:
        logger.warning(
            "the checkpoint has no loss scale (it is not of fp16): it begins at %g", loss_scale.scale
        )
    elif saved is not None:
        logger.warning("the checkpoint's loss scale (%g) is left behind: only fp16 needs one", saved["scale"])
