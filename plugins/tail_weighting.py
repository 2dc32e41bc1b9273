"""Example plugin: a policy that counts the samples in the upper tail of the batch's losses more.

Copy this file, change `weights`, and name it: `plugins: [tail_weighting]` in a run file, then
`policy: {name: tail_weighting, tail: 0.2}`. A policy sees the whole global batch whatever the number of
processes and micro-batches, so nothing here is about either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from framework.options import OpenFraction, Positive
from framework.policies.base import Policy, SampleLosses
from framework.registry import register


@register.policy("tail_weighting")
class TailWeighting(Policy):
    """Asymmetric weights: the largest losses of a batch count `boost` times as much as the others.

    Args:
        tail: share of the batch that is boosted.
        boost: weight of a sample in the tail, relative to one outside.
    """

    # A quantile of the batch decides each weight, so the step must compute all losses first.
    needs_batch = True

    def __init__(self, *, tail: OpenFraction = 0.1, boost: Positive = 3.0) -> None:
        self.tail = tail
        self.boost = boost

    def weights(self, samples: SampleLosses) -> Tensor:
        """`boost` or 1, divided by the sum over the batch, (n,)."""
        threshold = torch.quantile(samples.loss, 1.0 - self.tail)
        unnormalized = torch.where(samples.loss >= threshold, self.boost, 1.0)
        return (unnormalized / unnormalized.sum()).to(samples.loss.dtype)
