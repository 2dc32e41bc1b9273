"""IRMv1: one classifier that is optimal in every environment (Arjovsky et al., arXiv 1907.02893)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.options import Natural, NonNegative
from framework.policies.base import SampleLosses
from framework.policies.groups import group_sums
from framework.registry import register
from framework.regularizers.base import Regularizer
from framework.tasks.base import Task


@register.regularizer("irm")
class IRM(Regularizer):
    """IRMv1: the squared gradient of each environment's risk by a factor on the outputs, at 1.

    penalty * mean_e |d R_e(s f) / ds at s = 1|^2, over the environments e in the batch, which are the groups
    of the policy (equation IRMv1 of the paper; the authors' sum over environments is that many times as
    large). Two independent halves of an environment's samples make a product without bias from one batch
    (section 3.2), as DomainBed does. The policy weighs the risks themselves: `{name: vrex, penalty: 0}` is
    their mean over environments.

    Args:
        penalty: lambda, the factor of the penalty.
        anneal_steps: steps at the start with another factor. DomainBed also makes a new Adam after them,
            which is `train.reset_optimizer_after`.
        anneal_penalty: the factor in those steps.
        estimator: `halves` multiplies the means of every second sample and of the others; `square` squares
            the mean of all, as in the authors' code; its expectation is too large by that mean's variance.
    """

    needs_groups = True

    def __init__(
        self,
        group_counts: Sequence[int],
        *,
        penalty: NonNegative = 100.0,
        anneal_steps: Natural = 500,
        anneal_penalty: NonNegative = 1.0,
        estimator: Literal["halves", "square"] = "halves",
    ) -> None:
        self.num_groups = len(group_counts)
        self.factor = penalty
        self.anneal_steps = anneal_steps
        self.anneal_factor = anneal_penalty
        self.num_parts = 2 if estimator == "halves" else 1

    def terms(self, outputs: Tensor, batch: Batch, task: Task) -> Tensor:
        """The derivative of each sample's loss by a factor on its outputs, at 1, (micro,)."""
        with torch.enable_grad():
            factors = outputs.new_ones(len(outputs), *[1] * (outputs.dim() - 1)).requires_grad_()
            losses = task.losses(outputs * factors, batch)
            (slopes,) = torch.autograd.grad(losses.sum(), factors, create_graph=outputs.requires_grad)
        return slopes.reshape(len(outputs))

    def penalty(self, terms: Tensor, samples: SampleLosses) -> Tensor:
        """The factor of this step times the mean over environments of the squared mean term."""
        cells = samples.groups * self.num_parts + _ranks(samples.groups) % self.num_parts
        counts = group_sums(torch.ones_like(terms), cells, self.num_groups * self.num_parts)
        means = group_sums(terms, cells, self.num_groups * self.num_parts) / counts.clamp(min=1.0)
        parts = means.view(self.num_groups, self.num_parts)
        num_present = (counts.view(self.num_groups, self.num_parts)[:, 0] > 0).sum()
        factor = self.factor if self.num_steps >= self.anneal_steps else self.anneal_factor
        return factor * (parts[:, 0] * parts[:, -1]).sum() / num_present


def _ranks(groups: Tensor) -> Tensor:
    """The number of earlier samples of the same group, (n,)."""
    order = groups.argsort(stable=True)
    places = torch.arange(len(groups), device=groups.device)
    ordered = groups[order]
    starts = torch.searchsorted(ordered, ordered)
    return torch.empty_like(places).scatter_(0, order, places - starts)
