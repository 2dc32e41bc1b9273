"""V-REx: equal risks over domains (Krueger et al., ICML 2021, arXiv 2003.00688)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import Natural, NonNegative
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import group_sums, training_counts
from framework.registry import register


@register.policy("vrex")
class VREx(Policy):
    """Variance of the groups' risks as a penalty: mean_g R_g + penalty * Var_g(R_g).

    R_g is the mean loss of group g in the batch, the variance that of a population, over the groups that
    the batch holds. Its gradient by R_g is [1 + 2 penalty (R_g - mean R)] / groups, which divided by the
    group's samples is the weight. It is negative for groups that are easier than the mean by more than
    1 / (2 penalty): the method unlearns them on purpose. DomainBed (facebookresearch/DomainBed,
    `algorithms.py`) has the same penalty; it also makes a new Adam when the warm-up ends, which is
    `train.reset_optimizer_after`.

    Args:
        penalty: weight of the variance; 0 is ERM on balanced groups. DomainBed's is 10.
        anneal_steps: number of updates before the penalty takes effect. DomainBed's is 500.
        anneal_penalty: weight of the variance until then. DomainBed's is 1.
    """

    needs_groups = True
    may_be_negative = True
    state_names = ("num_updates",)

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        *,
        penalty: NonNegative = 10.0,
        anneal_steps: Natural = 500,
        anneal_penalty: NonNegative = 1.0,
    ) -> None:
        self.num_groups = len(training_counts(group_counts))
        self.penalty = penalty
        self.anneal_steps = anneal_steps
        self.anneal_penalty = anneal_penalty
        self.num_updates = torch.zeros((), dtype=torch.float64)

    def update(self, samples: SampleLosses) -> None:
        """Count the steps of the warm-up."""
        self.num_updates = self.num_updates + 1.0

    def weights(self, samples: SampleLosses) -> Tensor:
        """[1 + 2 penalty (R_g - mean R)] / (groups in the batch * samples of g), (n,)."""
        counts = group_sums(torch.ones_like(samples.loss), samples.groups, self.num_groups)
        present = counts > 0
        num_present = present.sum()
        risks = group_sums(samples.loss, samples.groups, self.num_groups) / counts.clamp(min=1.0)
        gaps = torch.where(present, risks - risks.sum() / num_present, 0.0)
        # The first update precedes the first weights.
        warming_up = (self.num_updates <= self.anneal_steps).double() if self.anneal_steps else 0.0
        penalty = self.penalty + warming_up * (self.anneal_penalty - self.penalty)
        slopes = (1.0 + 2.0 * penalty * gaps) / (num_present * counts.clamp(min=1.0))
        return slopes.index_select(0, samples.groups).to(samples.loss.dtype)
