"""Chi-square DRO (Levy, Carmon, Duchi, Sidford; NeurIPS 2020; arXiv 2010.05893)."""

from __future__ import annotations

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import NonNegative, Positive, PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.registry import register


@register.policy("chi_square")
class ChiSquare(Policy):
    """Chi-square DRO: the worst distribution over the batch within a chi-square ball, or with a penalty.

    With D(p) = (1/2) mean_i (n p_i - 1)^2, constrained is max_p sum_i p_i l_i over D(p) <= radius,
    penalized is max_p sum_i p_i l_i - penalty * D(p). Both give p_i proportional to (l_i - eta)+.
    Levy et al. (daniellevy/fast-dro, `robust_losses.py`) bisect for eta; here it is computed from the
    sorted losses. A radius that reaches a single sample, 2 radius + 1 >= n, puts all weight on the largest
    loss, shared by ties.

    Args:
        radius: of the ball; 0 is ERM.
        alpha: sets radius = (1/alpha - 1)^2 / 2 instead: the dual form of Hashimoto et al. (ICML 2018,
            arXiv 1806.08010), sqrt(1 + (1/alpha - 1)^2) sqrt(mean (l - eta)+^2) + eta, which bounds the
            loss of every group that holds a share alpha of the data; 1 is ERM.
        penalty: penalises instead of constraining, in units of the loss; the larger, the closer to ERM.

    Raises:
        ValueError: more than one of radius, alpha and penalty is given.
    """

    @validate_call
    def __init__(
        self,
        *,
        radius: NonNegative = 1.0,
        alpha: PositiveFraction | None = None,
        penalty: Positive | None = None,
    ) -> None:
        if sum((radius != 1.0, alpha is not None, penalty is not None)) > 1:
            raise ValueError("radius, alpha and penalty exclude each other; give one")
        self.radius = radius if alpha is None else 0.5 * (1.0 / alpha - 1.0) ** 2
        self.penalty = penalty

    def weights(self, samples: SampleLosses) -> Tensor:
        """p, (n,)."""
        losses = samples.loss.double()
        gaps = losses - losses.max()  # differences to the largest loss lose no digits among large losses
        weights = _constrained(gaps, self.radius) if self.penalty is None else _penalized(gaps, self.penalty)
        return (weights / weights.sum()).to(samples.loss.dtype)


def _penalized(gaps: Tensor, penalty: float) -> Tensor:
    """(l - eta)+ / (penalty n) with sum 1: the projection on the simplex of l / (penalty n)."""
    ordered = gaps.sort(descending=True).values
    sizes = torch.arange(1, len(gaps) + 1, dtype=gaps.dtype, device=gaps.device)
    etas = (ordered.cumsum(0) - penalty * len(gaps)) / sizes
    # The support is the largest k whose smallest member lies above its own eta.
    last = torch.where(ordered > etas, sizes, 0.0).argmax()
    return (gaps - etas.take(last)).clamp(min=0.0)


def _constrained(gaps: Tensor, radius: float) -> Tensor:
    """(l - eta)+ with n sum p^2 = 2 radius + 1.

    On a support of the k largest losses with mean m and variance v, n sum p^2 = (n / k)(1 + v / (m - eta)^2).
    It falls as eta does, so the support is the smallest k at which it is reached before sample k + 1 joins.
    """
    num_samples, target = len(gaps), 2.0 * radius + 1.0
    tiny = torch.finfo(gaps.dtype).tiny
    ordered = gaps.sort(descending=True).values
    ordered = ordered / (-ordered[-1:]).clamp(min=tiny)  # squares of tiny and of huge gaps stay in range
    sizes = torch.arange(1, num_samples + 1, dtype=gaps.dtype, device=gaps.device)
    means = ordered.cumsum(0) / sizes
    variances = (ordered.square().cumsum(0) / sizes - means.square()).clamp(min=0.0)
    depths = means - torch.cat([ordered[1:], torch.full_like(ordered[:1], -torch.inf)])
    spread = torch.where(depths > 0, variances / depths.square().clamp(min=tiny), torch.inf)
    support = (num_samples / sizes * (1.0 + spread) <= target).long().argmax()
    size, mean = sizes.take(support), means.take(support)
    excess = (size * target / num_samples - 1.0).clamp(min=tiny)
    depth = (variances.take(support) / excess).sqrt().clamp(min=tiny)
    scaled = gaps / (-gaps.min()).clamp(min=tiny)
    return (1.0 + (scaled - mean) / depth).clamp(min=0.0)
