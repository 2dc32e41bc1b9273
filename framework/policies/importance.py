"""Importance weighting: groups count by the inverse of their frequency."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import NonNegative
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import distribution, drawn_alike, expected_one, training_counts
from framework.registry import register

logger = logging.getLogger("framework.policies")


@register.policy("importance")
class Importance(Policy):
    """Inverse-frequency weights: with power 1, every group counts as much as any other in expectation.

    A sample of group g weighs c / s_g^power, s_g the group's share of the samples drawn and c such that
    the expected weight of a drawn sample is 1: with uniform sampling and power 1 this is
    n / (groups * n_g), the RW baseline of Idrissi et al. (CLeaR 2022, arXiv 2110.14503;
    facebookresearch/BalancingGroups). Under group-balanced sampling, which has the same effect, all
    weights are 1: what is balanced already is not balanced twice.

    Args:
        power: 0 is ERM, 1 the inverse frequency, 0.5 its square root.
    """

    needs_batch = False
    needs_groups = True
    constant_names = ("group_weights",)

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        group_shares: Sequence[float] | None = None,
        *,
        power: NonNegative = 1.0,
    ) -> None:
        counts = training_counts(group_counts)
        shares = distribution("group_shares", counts if group_shares is None else group_shares, counts)
        if power and drawn_alike(counts, group_shares):
            logger.warning("policy importance: the sampler draws all groups alike: all weights are 1 (erm)")
        logits = torch.where(shares > 0, -power * shares.log(), -torch.inf)
        self.group_weights = expected_one((logits - logits.max()).exp(), counts, group_shares)

    def weights(self, samples: SampleLosses) -> Tensor:
        """The weight of the sample's group over the batch size, (n,)."""
        weights = self.group_weights.index_select(0, samples.groups)
        return (weights / samples.num_samples).to(samples.loss.dtype)
