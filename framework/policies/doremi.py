"""DoReMi: group DRO on the excess over a reference model (Xie et al., NeurIPS 2023, arXiv 2305.10429)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import Fraction, NonNegative
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import TINY, distribution, group_sums, training_counts
from framework.registry import register


@register.policy("doremi")
class DoReMi(Policy):
    """DoReMi: an adversary over domains that follows the loss in excess of a reference model's.

    With lambda_g the mean over the tokens of domain g of max(loss - reference loss, 0),

        alpha_g <- alpha_g exp(eta lambda_g), renormalised;   alpha <- (1 - smoothing) alpha + smoothing / k

    over k domains, and the objective is sum_g alpha_g l_g (equation 1 of the paper), l_g the mean loss
    of the domain in the batch. The result is the *mean* of alpha over the steps, `alpha_average`, with
    which the final model's data are sampled. A domain that the batch lacks keeps its last lambda. The
    excess is read from the per-sample column `excess_loss` (the task's, clipped per token, as published),
    or else is max(loss - `baseline_loss`, 0) per sample. A column `num_tokens` weighs the samples of a
    domain by their tokens; leave `unit` of the task at sequence. Draw the domains uniformly
    (group-balanced sampling).

    Args:
        eta: step size of the adversary.
        smoothing: c, share of alpha spread evenly; the paper's text has 1e-3, the authors' code 1e-4.
        normalization: domains is equation 1; tokens is the authors' code (sangmichaelxie/doremi,
            `trainer.py`): a token of domain g weighs alpha_g over the domain's share of the batches,
            divided by the sum of that over all tokens of the batch.

    Raises:
        ValueError: group_shares do not fit the domains.
    """

    needs_groups = True
    required_extra = ("excess_loss", "baseline_loss")
    state_names = ("alpha", "alpha_average", "excess", "num_updates")
    constant_names = ("exists", "shares")

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        group_shares: Sequence[float] | None = None,
        *,
        eta: NonNegative = 1.0,
        smoothing: Fraction = 1e-3,
        normalization: Literal["domains", "tokens"] = "domains",
    ) -> None:
        counts = training_counts(group_counts)
        self.exists = counts > 0
        self.shares = distribution("group_shares", counts if group_shares is None else group_shares, counts)
        self.eta = eta
        self.smoothing = smoothing
        self.by_token = normalization == "tokens"
        self.alpha = self.exists.double() / self.exists.sum()
        self.alpha_average = self.alpha
        self.excess = torch.zeros_like(self.alpha)
        self.num_updates = torch.zeros((), dtype=torch.float64)

    def update(self, samples: SampleLosses) -> None:
        """Move alpha by the excess of each domain, and its mean over the steps."""
        tokens = self._tokens(samples)
        totals = group_sums(tokens, samples.groups, len(self.alpha))
        sums = group_sums(_excess(samples) * tokens, samples.groups, len(self.alpha))
        self.excess = torch.where(totals > 0, sums / totals.clamp(min=TINY), self.excess)
        logits = self.alpha.clamp(min=TINY).log() + self.eta * self.excess
        moved = torch.where(self.exists, logits, -torch.inf).softmax(0)
        uniform = self.exists.double() / self.exists.sum()
        self.alpha = (1.0 - self.smoothing) * moved + self.smoothing * uniform
        self.num_updates = self.num_updates + 1.0
        # The initial alpha is no step: the first update replaces it.
        self.alpha_average = self.alpha_average + (self.alpha - self.alpha_average) / self.num_updates

    def weights(self, samples: SampleLosses) -> Tensor:
        """alpha_g times the sample's share of the tokens of its domain, or of the batch's, (n,)."""
        tokens = self._tokens(samples)
        if self.by_token:
            density = torch.where(self.shares > 0, self.alpha / self.shares.clamp(min=TINY), 0.0)
            weights = tokens * density.index_select(0, samples.groups)
            weights = weights / weights.sum().clamp(min=TINY)
        else:
            totals = group_sums(tokens, samples.groups, len(self.alpha)).clamp(min=TINY)
            weights = tokens * (self.alpha / totals).index_select(0, samples.groups)
        return weights.to(samples.loss.dtype)

    def numbers(self) -> dict[str, Tensor]:
        """`alpha` and its mean over the steps, `alpha_average`, (groups,) each."""
        return {"alpha": self.alpha, "alpha_average": self.alpha_average}

    def _tokens(self, samples: SampleLosses) -> Tensor:
        """Tokens of each sample, float64 (n,)."""
        return samples.extra.get("num_tokens", torch.ones_like(samples.loss)).double()


def _excess(samples: SampleLosses) -> Tensor:
    """Loss in excess of the reference model's, float64 (n,)."""
    if "excess_loss" in samples.extra:
        return samples.extra["excess_loss"].double()
    return (samples.loss.double() - samples.extra["baseline_loss"].double()).clamp(min=0.0)
