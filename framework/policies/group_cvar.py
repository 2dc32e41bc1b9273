"""Group CVaR: the worst mixture of the groups in a batch (Oren, Sagawa, Hashimoto, Liang; EMNLP 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import group_sums, training_counts
from framework.policies.ranking import worst_mixture
from framework.registry import register


@register.policy("group_cvar")
class GroupCVaR(Policy):
    """CVaR over groups: the worst mixture in which no group has more than 1 / alpha of its share.

    The objective is max_q sum_g q_g l_g over q_g <= share_g / alpha, sum q = 1, with l_g the mean loss of
    group g in the batch, over the groups that the batch holds (arXiv 1909.02060, topic CVaR). It keeps no
    state; `group_dro` with `btl: true` is the authors' version on running averages of the losses.

    Args:
        alpha: share that the mixture must cover; 1 is the mean of the groups by their shares, which for
            shares of the batch is ERM.
        shares: what a group's share is: its share of the batch, of the training data, or the same for all.
    """

    needs_groups = True
    constant_names = ("shares",)

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        *,
        alpha: PositiveFraction = 0.2,
        shares: Literal["batch", "training", "uniform"] = "batch",
    ) -> None:
        counts = training_counts(group_counts)
        self.alpha = alpha
        self.by_batch = shares == "batch"
        self.shares = counts if shares == "training" else (counts > 0).double()

    def weights(self, samples: SampleLosses) -> Tensor:
        """q_g / (samples of g in the batch), (n,)."""
        num_groups = len(self.shares)
        counts = group_sums(torch.ones_like(samples.loss), samples.groups, num_groups)
        means = group_sums(samples.loss, samples.groups, num_groups) / counts.clamp(min=1.0)
        shares = counts if self.by_batch else torch.where(counts > 0, self.shares, 0.0)
        # A group that is not there must come last: its mean of 0 says nothing.
        means = torch.where(counts > 0, means, -torch.inf)
        q = worst_mixture(means, shares / shares.sum(), self.alpha)
        return (q / counts.clamp(min=1.0)).index_select(0, samples.groups).to(samples.loss.dtype)
