"""TERM: tilted empirical risk minimisation (Li, Beirami, Sanjabi, Smith; ICLR 2021; arXiv 2007.01162)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import Finite, PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import group_log_sum_exp, group_sums, training_counts
from framework.policies.moving import MovingLogMean
from framework.registry import register


@register.policy("tilted")
class Tilted(Policy):
    """Tilted risk (1/t) log mean exp(t l): t > 0 leans to the largest losses, t < 0 away from outliers.

    The gradient weighs sample i by exp(t l_i) / sum_j exp(t l_j). With groups the risks R_g are tilted (the
    paper's equation 4), (1/t) log (1/n) sum_g n_g exp(t R_g), where n_g samples of the batch are of group g:
    `groups` takes the mean loss of the group as R_g, `hierarchical` a tilted one of its own,
    (1/tau) log mean exp(tau l). All of them are ERM as t and tau go to 0; t = tau is `samples`. The
    largest exponent is subtracted before exp, as in the authors' code (litian96/TERM).

    Args:
        t: tilt across samples, or across groups; 0 is ERM.
        level: what is tilted: samples, groups, or samples inside groups and then the groups.
        tau: tilt of the samples inside a group (hierarchical).
        average: weight of the newest batch in a running mean of exp(t l), which then replaces the
            batch's own as the normaliser: the paper's stochastic algorithm (samples). null normalises by the
            batch, as the authors' code does.

    Raises:
        ValueError: no group counts where groups are tilted, or an option of a level that is not chosen.
    """

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int] | None = None,
        *,
        t: Finite = 1.0,
        level: Literal["samples", "groups", "hierarchical"] = "samples",
        tau: Finite = 0.0,
        average: PositiveFraction | None = None,
    ) -> None:
        if tau != 0.0 and level != "hierarchical":
            raise ValueError("tau belongs to level: hierarchical")
        if average is not None and level != "samples":
            raise ValueError("average belongs to level: samples")
        self.needs_groups = level != "samples"
        if self.needs_groups and group_counts is None:
            raise ValueError(f"level: {level} needs group_counts, the training samples of each group")
        self.num_groups = len(training_counts(group_counts or [1]))
        self.t = t
        self.tau = tau
        self.normalizer = None if average is None else MovingLogMean(average)
        if self.normalizer is not None:
            self.state_names = ("log_mean", "started")
            self.log_mean, self.started = self.normalizer.start()

    def update(self, samples: SampleLosses) -> None:
        """Move the running mean of exp(t l), if there is one."""
        if self.normalizer is not None:
            logits = self.t * samples.loss.double()
            self.log_mean, self.started = self.normalizer.move(self.log_mean, self.started, logits)

    def weights(self, samples: SampleLosses) -> Tensor:
        """exp(t l_i) over its sum, or the product of both tilts, (n,)."""
        losses = samples.loss.double()
        if self.needs_groups:
            weights = self._of_groups(losses, samples.groups)
        elif self.normalizer is not None:
            weights = self.normalizer.ratios(self.log_mean, self.started, self.t * losses) / len(losses)
        else:
            weights = (self.t * losses).softmax(0)
        return weights.to(samples.loss.dtype)

    def _of_groups(self, losses: Tensor, groups: Tensor) -> Tensor:
        counts = group_sums(torch.ones_like(losses), groups, self.num_groups)
        log_counts = counts.clamp(min=1.0).log()
        if self.tau == 0:
            risks = group_sums(losses, groups, self.num_groups) / counts.clamp(min=1.0)
            inside = -log_counts.index_select(0, groups)
        else:
            totals = group_log_sum_exp(self.tau * losses, groups, self.num_groups)
            risks = (totals - log_counts) / self.tau
            inside = self.tau * losses - totals.index_select(0, groups)
        shares = torch.where(counts > 0, log_counts + self.t * risks, -torch.inf).log_softmax(0)
        return (shares.index_select(0, groups) + inside).exp()
