"""Empirical risk minimisation: every sample counts the same."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.policies.base import Policy, SampleLosses
from framework.registry import register


@register.policy("erm")
class ERM(Policy):
    """Empirical risk minimisation: the plain mean of the losses."""

    needs_batch = False

    def weights(self, samples: SampleLosses) -> Tensor:
        """1 / batch size for each sample, (n,)."""
        return torch.full_like(samples.loss, 1.0 / samples.num_samples)
