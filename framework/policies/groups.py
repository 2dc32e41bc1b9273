"""What the group policies share: sums by group and distributions over groups."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: The smallest share that has a logarithm: one that underflowed must not become 0 * -inf.
TINY = torch.finfo(torch.float64).tiny


def group_sums(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum `values` (n,) by `groups` (n,) into (num_groups,), in float64.

    `index_add` and not `bincount`: the latter makes the host wait for the device.
    """
    sums = torch.zeros(num_groups, dtype=torch.float64, device=values.device)
    return sums.index_add(0, groups, values.double())


def training_counts(group_counts: Sequence[int]) -> Tensor:
    """The training counts as float64 (groups,).

    Raises:
        ValueError: no groups, a negative count, or not one training sample.
    """
    counts = torch.as_tensor(group_counts, dtype=torch.float64)
    if counts.dim() != 1 or len(counts) == 0 or bool((counts < 0).any()) or not bool(counts.sum() > 0):
        raise ValueError(f"group_counts must be training counts, one per group; got {list(group_counts)}")
    return counts


def distribution(name: str, masses: Sequence[float] | Tensor, counts: Tensor) -> Tensor:
    """`masses` divided by their sum, float64 (groups,).

    Raises:
        ValueError: wrong length, negative or no mass, or mass on a group without training samples.
    """
    mass = torch.as_tensor(masses, dtype=torch.float64)
    if mass.shape != counts.shape:
        raise ValueError(f"{name} has {mass.numel()} entries for {len(counts)} groups")
    if bool((mass < 0).any()) or not bool(mass.isfinite().all()) or not bool(mass.sum() > 0):
        raise ValueError(f"{name} must hold finite numbers >= 0, not all 0; got {mass.tolist()}")
    unfounded = ((mass > 0) & (counts == 0)).nonzero().flatten().tolist()
    if unfounded:
        raise ValueError(f"{name} gives mass to groups {unfounded}, which have no training samples")
    return mass / mass.sum()


def drawn_alike(counts: Tensor, shares: Sequence[float] | None) -> bool:
    """Whether the sampler makes groups of different counts equally frequent.

    Args:
        counts: (groups,) training counts.
        shares: (groups,) shares of the samples drawn; None where samples are drawn uniformly.
    """
    if shares is None:
        return False
    drawn = torch.as_tensor(shares, dtype=torch.float64)[counts > 0]
    present = counts[counts > 0]
    return bool((present != present[0]).any()) and torch.allclose(drawn, drawn[:1], rtol=1e-9, atol=0)


def group_log_sum_exp(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """log sum exp of `values` (n,) by `groups` (n,), float64 (num_groups,); -inf for a group without any."""
    lowest = torch.full((num_groups,), -torch.inf, dtype=torch.float64, device=values.device)
    largest = lowest.scatter_reduce(0, groups, values.double(), "amax")
    shifted = values.double() - largest.index_select(0, groups)
    return largest + group_sums(shifted.exp(), groups, num_groups).log()


def expected_one(weights: Tensor, counts: Tensor, shares: Sequence[float] | None) -> Tensor:
    """Group `weights` scaled so that a sampled sample's expected weight is 1, float64 (groups,).

    Args:
        weights: (groups,) >= 0.
        counts: (groups,) training counts.
        shares: (groups,) shares of the samples drawn; None where samples are drawn uniformly.

    Raises:
        ValueError: the shares do not fit the groups, or only groups of weight 0 are drawn.
    """
    drawn = distribution("group_shares", counts if shares is None else shares, counts)
    expected = (drawn * weights).sum()
    if not bool(expected > 0):
        raise ValueError("the groups that are drawn all have weight 0")
    return weights / expected
