"""Group DRO (Sagawa, Koh, Hashimoto, Liang; ICLR 2020; arXiv 1911.08731) and its greedy topic-CVaR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import validate_call
from torch import Tensor

from framework.options import Finite, Fraction, NonNegative
from framework.policies.base import Policy, SampleLosses
from framework.policies.groups import TINY, group_sums, training_counts
from framework.registry import register


@register.policy("group_dro")
class GroupDRO(Policy):
    """Group DRO: minimise the loss of the worst group through adversarial group weights q.

    Algorithm 1 on a mini-batch: with l_g the mean loss of group g, q_g <- q_g exp(step_size * l_g),
    renormalised, and the objective is sum_g q_g l_g with the new q. The paper draws groups uniformly:
    combine it with group-balanced sampling. With `btl`, q is the worst case among the mixtures of groups
    that give no group more than 1 / alpha of its share (Oren et al., EMNLP 2019), found greedily from
    running averages of the losses. Groups without training samples have q = 0 for ever.

    Args:
        step_size: of the exponentiated-gradient ascent on q; 0 keeps q uniform over the groups.
        adjustment: C of eq. 5: C / sqrt(training count) is added to a group's loss before q moves; one
            number, or one per group, of any sign. It never enters the objective or a reported loss.
        normalize_losses: divide the groups' losses by their sum before they move q.
        absent: what moves q of a group that the batch lacks. freeze: nothing, the others share what they had
            together; zero_loss: a loss of 0 plus its adjustment, so it decays (the authors' code); last:
            its most recent loss, or nothing before there is one.
        renormalize_present: divide the objective by the q of the groups in the batch. Without it, as in the
            authors' code, a batch that lacks a group takes a shorter step.
        floor: smallest share of q, as a fraction of the uniform share 1 / groups (DoReMi's smoothing,
            arXiv 2305.10429): a group that was easy for long can come back. 0 is the authors' code.
        btl: weigh by the greedy topic-CVaR instead of exponentiated gradient.
        alpha: share of the training data that the worst mixture must cover (btl).
        gamma: weight of the newest loss in the running averages (btl).
        minimum_variational_weight: share of q that stays with the groups' training shares (btl).

    Raises:
        ValueError: an adjustment per group for other groups, or options of the algorithm that is not
            chosen.
    """

    needs_groups = True
    state_names = ("q", "average_loss", "seen")
    constant_names = ("exists", "adjustment", "shares")

    @validate_call
    def __init__(
        self,
        group_counts: Sequence[int],
        *,
        step_size: NonNegative = 0.01,
        adjustment: Finite | Sequence[Finite] = 0.0,
        normalize_losses: bool = False,
        absent: Literal["freeze", "zero_loss", "last"] = "freeze",
        renormalize_present: bool = False,
        floor: Fraction = 1e-6,
        btl: bool = False,
        alpha: Fraction = 0.2,
        gamma: Fraction = 0.1,
        minimum_variational_weight: Fraction = 0.0,
    ) -> None:
        if not btl and (alpha, gamma, minimum_variational_weight) != (0.2, 0.1, 0.0):
            raise ValueError("alpha, gamma and minimum_variational_weight belong to btl: true")
        if btl and (step_size, normalize_losses, absent, floor) != (0.01, False, "freeze", 1e-6):
            raise ValueError("step_size, normalize_losses, absent and floor belong to btl: false")
        if not alpha > 0:
            raise ValueError("alpha must be positive: the mixture has to cover some of the data")
        if not floor < 1:
            raise ValueError("floor must be below 1, which would fix q")
        counts = training_counts(group_counts)
        self.exists = counts > 0
        self.shares = counts / counts.sum()
        self.adjustment = _adjustment(adjustment, counts)
        self.adjusted = bool((self.adjustment != 0).any())
        self.step_size = step_size
        self.normalize_losses = normalize_losses
        self.absent = absent
        self.renormalize_present = renormalize_present
        self.btl = btl
        self.alpha = alpha
        self.gamma = gamma if btl else 1.0
        self.minimum_variational_weight = minimum_variational_weight
        self.q = self.exists.double() / self.exists.sum()
        self.smallest_share = floor * float(self.q.max())
        self.average_loss = torch.zeros_like(self.q)
        self.seen = torch.zeros_like(self.exists)

    def update(self, samples: SampleLosses) -> None:
        """Move q by the mean loss of each group in the batch."""
        counts = self._counts(samples)
        present = counts > 0
        means = group_sums(samples.loss, samples.groups, len(self.q)) / counts.clamp(min=1.0)
        if self.btl or self.absent == "last":
            moved = (1.0 - self.gamma) * self.average_loss + self.gamma * means
            moved = torch.where(self.seen, moved, means)
            self.average_loss = torch.where(present, moved, self.average_loss)
            self.seen = self.seen | present
        self.q = self._greedy_mixture() if self.btl else self._ascend(means, present)

    def weights(self, samples: SampleLosses) -> Tensor:
        """q_g / (samples of g in the batch), (n,)."""
        counts = self._counts(samples)
        q = self.q
        if self.renormalize_present:
            q = q / torch.where(counts > 0, q, 0.0).sum().clamp(min=TINY)
        return (q / counts.clamp(min=1.0))[samples.groups].to(samples.loss.dtype)

    def numbers(self) -> dict[str, Tensor]:
        """`q`, (groups,)."""
        return {"q": self.q}

    def _counts(self, samples: SampleLosses) -> Tensor:
        return group_sums(torch.ones_like(samples.loss), samples.groups, len(self.q))

    def _ascend(self, means: Tensor, present: Tensor) -> Tensor:
        """Exponentiated gradient over the groups that take part; the others keep their share."""
        if self.absent == "freeze":
            losses, active = means, present
        elif self.absent == "last":
            losses, active = self.average_loss, self.seen
        else:
            losses, active = means, self.exists
        active = active & self.exists
        if self.adjusted:
            losses = losses + self.adjustment
        if self.normalize_losses:
            total = torch.where(active, losses.abs(), 0.0).sum()
            losses = losses / torch.where(total > 0, total, 1.0)
        logits = self.q.clamp(min=TINY).log() + self.step_size * losses
        proportions = torch.where(active, logits, -torch.inf).softmax(0)
        mass = torch.where(active, self.q, 0.0).sum()
        reserved = self.smallest_share * active.sum()
        moved = self.smallest_share + (mass - reserved).clamp(min=0.0) * proportions
        return torch.where(active, moved, self.q)

    def _greedy_mixture(self) -> Tensor:
        """Fill the groups in order of loss, each up to shares / alpha, until q is 1."""
        order = (self.average_loss + self.adjustment).argsort(descending=True, stable=True)
        shares = self.shares[order]
        filled_before = shares.cumsum(0) - shares
        filled = torch.minimum((self.alpha - filled_before).clamp(min=0.0), shares) / self.alpha
        mixture = torch.zeros_like(self.q).index_copy(0, order, filled)
        kept = self.minimum_variational_weight
        return kept * self.shares + (1.0 - kept) * mixture


def _adjustment(adjustment: float | Sequence[float], counts: Tensor) -> Tensor:
    """C / sqrt(n_g), float64 (groups,); 0 for groups without samples."""
    constants = torch.as_tensor(adjustment, dtype=torch.float64)
    if constants.dim() and constants.shape != counts.shape:
        raise ValueError(f"adjustment has {constants.numel()} entries for {len(counts)} groups")
    return torch.where(counts > 0, constants / counts.clamp(min=1.0).sqrt(), 0.0)
