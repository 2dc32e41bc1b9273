"""CVaR: the mean of the largest losses (Rockafellar and Uryasev, 2000; Levy et al., arXiv 2010.05893)."""

from __future__ import annotations

import math

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import NonNegative, PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.policies.ranking import worst_mixture
from framework.registry import register


@register.policy("cvar")
class CVaR(Policy):
    """Conditional value at risk: the mean over the fraction alpha of the batch with the largest losses.

    The objective is max_p sum_i p_i l_i - regularization * KL(p || uniform) over distributions p with
    p_i <= 1 / (alpha n). Without regularisation p is 1 / (alpha n) on the largest losses, the last of
    them getting what remains of 1; with it p_i = min(exp((l_i - eta) / regularization), 1 / alpha) / n,
    eta such that they sum to 1. Where Levy et al. (daniellevy/fast-dro, `robust_losses.py`) bisect for eta,
    here it is computed from the sorted losses. Losses that tie share alike.

    The estimate from one batch is biased towards smaller risks, the more the smaller alpha n is.

    Args:
        alpha: share of the batch that counts; 1 is ERM. Below 1 / n only the largest loss counts.
        regularization: strength of the pull towards uniform weights, in units of the loss; 0 is none.
    """

    @validate_call
    def __init__(self, *, alpha: PositiveFraction = 0.1, regularization: NonNegative = 0.0) -> None:
        self.alpha = alpha
        self.regularization = regularization

    def weights(self, samples: SampleLosses) -> Tensor:
        """p, (n,)."""
        losses = samples.loss.double()
        if self.regularization > 0:
            weights = _regularized(losses / self.regularization, self.alpha)
        else:
            weights = worst_mixture(losses, torch.full_like(losses, 1.0 / samples.num_samples), self.alpha)
        return weights.to(samples.loss.dtype)


def _regularized(scaled: Tensor, alpha: float) -> Tensor:
    """min(exp(scaled - eta), 1 / alpha) / n with sum 1.

    With the k largest at their cap, the others share 1 - k cap as a softmax; k is the smallest number
    for which the largest of these others stays below the cap.
    """
    num_samples = len(scaled)
    cap = max(1.0 / (alpha * num_samples), 1.0 / num_samples)
    ordered = scaled.sort(descending=True).values
    log_totals = ordered.flip(0).logcumsumexp(0).flip(0)
    candidates = min(math.ceil(alpha * num_samples), num_samples)
    capped = torch.arange(candidates, dtype=scaled.dtype, device=scaled.device)
    log_rest = (1.0 - capped * cap).clamp(min=torch.finfo(scaled.dtype).tiny).log()
    offsets = log_rest - log_totals[:candidates]
    fits = ordered[:candidates] + offsets <= math.log(cap)
    fits = torch.cat([fits[:-1], torch.ones_like(fits[:1])])  # true but for rounding
    offset = offsets.take(fits.long().argmax())
    weights = (scaled + offset).exp().clamp(max=cap)
    return weights / weights.sum()
