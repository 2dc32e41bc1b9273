"""RGD: re-weighted gradient descent (Kumar, Majmundar, Nagaraj, Suggala; arXiv 2306.09222)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import Positive
from framework.policies.base import Policy, SampleLosses
from framework.registry import register


@register.policy("rgd")
class RGD(Policy):
    """Re-weighted gradient descent: samples count by an increasing function of their own loss.

    With u_i = min(l_i, T) / (T + 1) the objective is (1/n) sum_i w(u_i) l_i, where w is the dual of the
    divergence and no gradient flows through it. This is gradient descent on a KL (chi-square, reverse
    KL) distributionally robust risk with a fixed multiplier, which is why the paper needs no
    normaliser. For losses >= 0 the weights of `kl` lie in [1, e).

    There is no clip from below: a loss may be negative (a density's log-likelihood), its weight is then
    below 1, and 0 for `chi_square` once l_i <= -(T + 1).

    Args:
        clip: T, in the units of the loss; larger losses weigh no more than a loss of T.
        divergence: kl gives w = exp(u) (the paper's experiments), chi_square w = 1 + u, reverse_kl
            w = 1 / (1 - u).
        normalization: none divides by the batch size (the paper); mean_one scales the batch's weights to
            mean 1 before that division, sum_one makes them sum to 1 instead of it. The objective
            is a sum, so the last two are the same numbers under two names.
    """

    @validate_call
    def __init__(
        self,
        *,
        clip: Positive = 1.0,
        divergence: Literal["kl", "chi_square", "reverse_kl"] = "kl",
        normalization: Literal["none", "mean_one", "sum_one"] = "none",
    ) -> None:
        self.clip = clip
        self.divergence = divergence
        self.normalized = normalization != "none"
        self.needs_batch = self.normalized

    def weights(self, samples: SampleLosses) -> Tensor:
        """w(u_i) / n, or w(u_i) / sum_j w(u_j) when normalised, (n,)."""
        # bfloat16 keeps 8 bits: its exponentials would move in steps of 1 %.
        loss = samples.loss.to(torch.promote_types(samples.loss.dtype, torch.float32))
        u = loss.clamp(max=self.clip) / (self.clip + 1.0)
        if self.divergence == "kl":
            unnormalized = u.exp()
        elif self.divergence == "chi_square":
            unnormalized = (1.0 + u).clamp(min=0.0)
        else:
            unnormalized = 1.0 / (1.0 - u)
        if not self.normalized:
            return (unnormalized / samples.num_samples).to(samples.loss.dtype)
        # The sum is 0 only for chi_square with every loss below -(T + 1): then nothing counts.
        total = unnormalized.sum().clamp(min=torch.finfo(loss.dtype).tiny)
        return (unnormalized / total).to(samples.loss.dtype)
