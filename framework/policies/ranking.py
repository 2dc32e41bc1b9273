"""What the policies that look at ranks share: losses in order, ties treated alike."""

from __future__ import annotations

import torch
from torch import Tensor


def spread_over_ties(ordered: Tensor, mass: Tensor, capacity: Tensor) -> Tensor:
    """Give equal losses equal shares: `mass` of each run of ties, spread in proportion to `capacity`.

    Of all maximisers of a rank statistic this is the one that does not depend on the order of the samples.

    Args:
        ordered: (n,) sorted losses.
        mass: (n,) weights in that order.
        capacity: (n,) positive wherever a loss takes part.
    """
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    run = starts.long().cumsum(0) - 1
    total_mass = torch.zeros_like(mass).index_add(0, run, mass)
    total_capacity = torch.zeros_like(mass).index_add(0, run, capacity)
    tiny = torch.finfo(mass.dtype).tiny
    return capacity * (total_mass / total_capacity.clamp(min=tiny)).index_select(0, run)


def worst_mixture(losses: Tensor, shares: Tensor, alpha: float) -> Tensor:
    """The mixture q, q_i <= shares_i / alpha, that gives the largest loss: filled from the largest down.

    Args:
        losses: float64 (n,).
        shares: float64 (n,) >= 0, with sum 1; entries of share 0 get nothing.
        alpha: in (0, 1].
    """
    ordered, order = losses.sort(descending=True, stable=True)
    capacity = shares.index_select(0, order)
    filled_before = capacity.cumsum(0) - capacity
    filled = torch.minimum((alpha - filled_before).clamp(min=0.0), capacity)
    filled = spread_over_ties(ordered, filled, capacity)
    return torch.zeros_like(losses).index_copy(0, order, filled / filled.sum())
