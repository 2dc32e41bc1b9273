"""Focal loss (Lin, Goyal, Girshick, He, Dollar; ICCV 2017; arXiv 1708.02002)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import NonNegative
from framework.policies.base import Policy, SampleLosses
from framework.registry import register


@register.policy("focal")
class Focal(Policy):
    """Focal loss (1 - p)^gamma * l as weights, p = exp(-l) being the probability given to the target.

    The focal loss is a function of the cross-entropy l alone, so that its gradient is that of l times
    d/dl [(1 - p)^gamma l] = (1 - p)^gamma + gamma (1 - p)^(gamma - 1) p l, and this weight reproduces it
    exactly. The usual implementation yields nan for gamma < 1 at p = 1; the weight there is 0. The
    task's loss must be an unsmoothed cross-entropy of one target; others are refused.

    Args:
        gamma: focusing parameter; 0 is ERM.
        gradient: full is the focal loss's own gradient; factor weighs by (1 - p)^gamma alone, as a
            policy whose factor is held fixed.
    """

    needs_batch = False
    needs_log_probability = True

    @validate_call
    def __init__(self, *, gamma: NonNegative = 2.0, gradient: Literal["full", "factor"] = "full") -> None:
        self.gamma = gamma
        self.full = gradient == "full"

    def weights(self, samples: SampleLosses) -> Tensor:
        """The derivative of the focal loss by the cross-entropy, or its factor, over n, (n,)."""
        # A cross-entropy of 0 may come out a rounding below 0.
        losses = samples.loss.double().clamp(min=0.0)
        missing = -torch.expm1(-losses)  # 1 - p without cancellation
        weights = missing.pow(self.gamma)
        if self.full:
            # l / (1 - p) goes to 1 with l
            ratio = torch.where(losses > 0, losses / missing.clamp(min=torch.finfo(losses.dtype).tiny), 1.0)
            weights = weights * (1.0 + self.gamma * (-losses).exp() * ratio)
        return (weights / samples.num_samples).to(samples.loss.dtype)
