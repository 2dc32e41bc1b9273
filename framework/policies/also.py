"""ALSO: adaptive loss scaling by an adversarial distribution over groups (arXiv 2508.16734)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import NonNegative, Positive
from framework.policies.base import Extrapolation, Policy, SampleLosses
from framework.policies.groups import TINY, distribution, group_sums, training_counts
from framework.registry import register

Prior = Sequence[NonNegative] | Literal["uniform", "inverse_frequency"]


@register.policy("also")
class ALSO(Policy):
    """Adaptive loss scaling: an adversary moves weight between groups, held near a prior.

    The game is min over the model, max over pi, of sum_g pi_g f_g - pi_decay * KL(pi || pi_reg), where
    f_g is the payoff of group g in the batch. The adversary's step on payoffs L is

        log pi <- [log(pi + eps) + pi_decay * pi_lr * log(pi_reg) + pi_lr * L] / (1 + pi_decay * pi_lr)

    followed by a softmax at `pi_temperature`. In the optimistic mode losses are taken at half steps of
    both players, made with the previous gradient and the previous payoffs; one backward pass per step.
    Groups without training samples have pi = 0 for ever.

    Args:
        mode: optimistic takes the half steps; descent_ascent moves both players from where they stand.
        alpha: factor on the previous gradient in the model's half step (optimistic mode).
        half_step_state: restored puts the optimizer's moments back after the half step; shared lets the
            half step advance them, as the authors' code does (optimistic mode).
        pi_lr: the adversary's step size.
        pi_decay: strength of the pull towards pi_reg.
        pi_temperature: above 1 flattens pi at each step, below 1 sharpens it.
        pi_reg: the prior: uniform, inverse_frequency (mass proportional to 1 / training count), or a list
            of one mass per group, divided by its sum. The authors recommend static class weights.
        pi_init: where pi starts; null is pi_reg. (The authors' docstring says so too; their code starts
            uniform, which is pi_init: uniform here.)
        payoff: sum is the authors': the sum of the scaled losses of the group's samples, in which a group's
            share of the data counts; mean divides each loss by its group's expected number of samples
            in a batch, in payoff and objective alike, so that group means are weighed.
        loss_scale: factor on each loss when the payoff is sum: auto is groups / actual batch size, nominal
            is groups / configured batch size (the authors': a short last batch is under-weighted),
            or a number.
        pi_eps: added to pi before the logarithm. The authors use their Adam's eps, 2 ** -23: it pulls pi
            towards uniform by groups * eps a step, with 84 groups as strongly as the prior does at the
            default pi_lr and pi_decay.

    Raises:
        ValueError: a prior that does not fit the groups, or options of a mode or payoff that is not chosen.
    """

    needs_batch = False
    needs_groups = True
    state_names = ("pi", "pi_half")
    constant_names = ("exists", "log_prior", "shares")

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        group_shares: Sequence[float] | None = None,
        batch_size: int | None = None,
        *,
        mode: Literal["optimistic", "descent_ascent"] = "optimistic",
        alpha: NonNegative = 1.0,
        half_step_state: Literal["restored", "shared"] = "restored",
        pi_lr: NonNegative = 1e-3,
        pi_decay: NonNegative = 1e-2,
        pi_temperature: Positive = 1.0,
        pi_reg: Prior = "uniform",
        pi_init: Prior | None = None,
        payoff: Literal["sum", "mean"] = "sum",
        loss_scale: Positive | Literal["auto", "nominal"] = "auto",
        pi_eps: NonNegative = 0.0,
    ) -> None:
        if mode == "descent_ascent" and (alpha != 1.0 or half_step_state != "restored"):
            raise ValueError("alpha and half_step_state belong to mode: optimistic")
        if payoff == "mean" and loss_scale != "auto":
            raise ValueError("payoff: mean has its own scale, 1 / expected count; loss_scale must be auto")
        if loss_scale == "nominal" and batch_size is None:
            raise ValueError("loss_scale: nominal needs batch_size")
        counts = training_counts(group_counts)
        self.exists = counts > 0
        num_groups = int(self.exists.sum())
        self.optimistic = mode == "optimistic"
        self.extrapolation = Extrapolation(alpha, half_step_state) if self.optimistic else None
        self.pi_lr = pi_lr
        self.pi_pull = pi_decay * pi_lr
        self.pi_temperature = pi_temperature
        self.pi_eps = pi_eps
        self.payoff = payoff
        #: what every loss is multiplied by, before a division by the actual batch size if `scale_by_batch`
        self.scale = float(num_groups) if isinstance(loss_scale, str) else loss_scale
        if loss_scale == "nominal" and batch_size is not None:
            self.scale /= batch_size
        self.scale_by_batch = loss_scale == "auto"
        self.shares = distribution("group_shares", counts if group_shares is None else group_shares, counts)
        if payoff == "mean" and bool((self.exists & (self.shares == 0)).any()):
            raise ValueError("payoff: mean needs a positive share of the batches for every training group")
        prior = _prior("pi_reg", pi_reg, counts)
        self.log_prior = prior.log()
        self.pi = prior if pi_init is None else _prior("pi_init", pi_init, counts)
        self.pi_half = self.pi

    def weights(self, samples: SampleLosses) -> Tensor:
        """pi of the sample's group times its scale, (n,)."""
        return (self.pi_half[samples.groups] * self._scales(samples)).to(samples.loss.dtype)

    def update(self, samples: SampleLosses) -> None:
        """The adversary's step, and its half step for the next batch when optimistic."""
        payoffs = group_sums(samples.loss.double() * self._scales(samples), samples.groups, len(self.pi))
        self.pi = self._step(self.pi, payoffs)
        # The next half step uses these same payoffs, so they need not be kept.
        self.pi_half = self._step(self.pi, payoffs) if self.optimistic else self.pi

    def numbers(self) -> dict[str, Tensor]:
        """`pi`, (groups,)."""
        return {"pi": self.pi}

    def _scales(self, samples: SampleLosses) -> Tensor | float:
        """The factor on each loss in objective and payoff: one number, or float64 (n,)."""
        if self.payoff == "mean":
            return 1.0 / (self.shares[samples.groups] * samples.num_samples)
        return self.scale / samples.num_samples if self.scale_by_batch else self.scale

    def _step(self, pi: Tensor, payoffs: Tensor) -> Tensor:
        logits = (pi + self.pi_eps).clamp(min=TINY).log() + self.pi_lr * payoffs
        if self.pi_pull > 0:  # a zero in the prior gives 0 * -inf otherwise
            logits = (logits + self.pi_pull * self.log_prior) / (1.0 + self.pi_pull)
        logits = torch.where(self.exists, logits / self.pi_temperature, -torch.inf)
        return logits.softmax(0)


def _prior(name: str, prior: Prior, counts: Tensor) -> Tensor:
    if prior == "uniform":
        return distribution(name, (counts > 0).double(), counts)
    if prior == "inverse_frequency":
        return distribution(name, torch.where(counts > 0, 1.0 / counts.clamp(min=1.0), 0.0), counts)
    return distribution(name, prior, counts)
