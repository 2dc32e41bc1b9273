"""Class-balanced weights by the effective number of samples (Cui et al., CVPR 2019, arXiv 1901.05555)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import BelowOne
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import drawn_alike, expected_one, training_counts
from framework.registry import register


@register.policy("class_balanced")
class ClassBalanced(Policy):
    """Effective-number weights: a group of n_g samples weighs (1 - beta) / (1 - beta^n_g).

    beta = 0 is ERM, beta -> 1 the inverse frequency. The paper and its code
    (richardaecn/class-balanced-loss) scale the weights to sum to the number of classes, which on a long
    tail makes the mean weight of a batch far less than 1 and thereby changes the learning rate.

    Args:
        beta: of the effective number; the paper takes 0.9, 0.99, 0.999 and 0.9999.
        scale: expected_one makes the expected weight of a sampled sample 1; num_groups makes the
            weights of the groups sum to their number, as the authors' code does.

    Raises:
        ValueError: the sampler draws all groups alike, so that rare ones would be lifted twice.
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
        beta: BelowOne = 0.9999,
        scale: Literal["expected_one", "num_groups"] = "expected_one",
    ) -> None:
        counts = training_counts(group_counts)
        if beta and drawn_alike(counts, group_shares):
            raise ValueError(
                "weighs groups by their training counts, but the sampler draws all groups alike: rare ones"
                " would be lifted twice; set data.sampling.name to uniform, or take erm or importance"
            )
        log_beta = math.log(beta) if beta > 0 else -math.inf
        effective = -torch.expm1(counts.clamp(min=1.0) * log_beta)
        weights = torch.where(counts > 0, 1.0 / effective, 0.0)
        if scale == "num_groups":
            self.group_weights = weights * (counts > 0).sum() / weights.sum()
        else:
            self.group_weights = expected_one(weights, counts, group_shares)

    def weights(self, samples: SampleLosses) -> Tensor:
        """The weight of the sample's group over the batch size, (n,)."""
        weights = self.group_weights.index_select(0, samples.groups)
        return (weights / samples.num_samples).to(samples.loss.dtype)
