"""Deferral: start a policy only after an epoch (DRW: Cao et al., NeurIPS 2019, arXiv 1906.07413)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from framework.options import Natural
from framework.policies.base import Policy, SampleLosses
from framework.policies.erm import ERM
from framework.policies.nested import Nested
from framework.registry import Of, register


@register.policy("deferred")
class Deferred(Nested):
    """Uses the policy `before` until an epoch or step, then the policy `base`, which starts afresh there.

    Deferred re-weighting (kaidic/LDAM-DRW, `cifar_train.py`) is `base: {name: class_balanced}` from epoch 160
    of 200; ABSGD trains with cross-entropy first in the same way. The policy that is not in use is not
    updated. It counts its own updates, so that a step skipped for numbers that are not finite does not count.

    Args:
        base: the policy that starts late.
        before: the policy until then; null is ERM.
        epoch: number of whole epochs before the start.
        step: number of updates before the start: optimizer steps, or micro-batches where
            batch.accumulation is per_micro.

    Raises:
        ValueError: not exactly one of epoch and step, an epoch where its length is not known, or two
            policies that disagree about the optimistic half step.
    """

    def __init__(
        self,
        updates_per_epoch: int | None = None,
        *,
        base: Annotated[Policy, Of("policy")],
        before: Annotated[Policy, Of("policy")] | None = None,
        epoch: Natural | None = None,
        step: Natural | None = None,
    ) -> None:
        if (epoch is None) == (step is None):
            raise ValueError("give epoch or step, the time at which the base policy starts")
        if epoch is not None and updates_per_epoch is None:
            raise ValueError("epoch needs updates_per_epoch; without it give step")
        before = ERM() if before is None else before
        super().__init__(base=base, before=before)
        if base.extrapolation != before.extrapolation:
            raise ValueError(
                "the optimistic half step is taken in all of a run or in none: base and before must ask for"
                " the same (for also, mode: descent_ascent takes none)"
            )
        self.extrapolation = base.extrapolation
        self.base, self.before = base, before
        self.start = step if step is not None else (epoch or 0) * (updates_per_epoch or 0)
        self._count(0)

    @property
    def active(self) -> Policy:
        """The policy of the next step."""
        return self.base if self.num_updates >= self.start else self.before

    def step(self, samples: SampleLosses) -> Tensor:
        """A step of the policy whose turn it is, (n,)."""
        weights = self.active.step(samples)
        self._count(self.num_updates + 1)
        return weights

    def update(self, samples: SampleLosses) -> None:
        """Update the policy whose turn it is."""
        self.active.update(samples)
        self._count(self.num_updates + 1)

    def weights(self, samples: SampleLosses) -> Tensor:
        """The weights of the policy whose turn it is, (n,)."""
        return self.active.weights(samples)

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and the state of both policies."""
        count = torch.tensor(float(self.num_updates), dtype=torch.float64)
        return {"num_updates": count, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the number of updates and the state of both policies."""
        super().load_state_dict({key: value for key, value in state.items() if key != "num_updates"})
        # On the host, where it is compared at every step.
        self._count(int(state["num_updates"]))

    def _count(self, num_updates: int) -> None:
        self.num_updates = num_updates
        self.needs_batch = self.active.needs_batch
