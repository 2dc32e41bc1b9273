"""What the two passes of sharpness-aware minimisation ask of a policy that moves once a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from framework.policies.base import Policy, SampleLosses
from framework.policies.deferred import Deferred


class AscentPass(Policy):
    """The first pass, at the weights themselves: the policy moves by its losses as in a step without SAM.

    Args:
        base: the policy of the run.
        ascent: `objective` gives the weights of the policy, `mean` equal ones.

    Attributes:
        asked: for each time that weights were asked for, the policy that gave them and where it stood.
    """

    def __init__(self, base: Policy, ascent: Literal["objective", "mean"]) -> None:
        self.base = base
        self.needs_batch = base.needs_batch
        self.equal = ascent == "mean"
        self.asked: list[tuple[Policy, dict[str, Any]]] = []

    def step(self, samples: SampleLosses) -> Tensor:
        """A step of the policy; equal weights (n,) where these are asked for."""
        weigher = self._weigher()
        before = weigher.state_dict()
        weights = self.base.step(samples)
        self.asked.append((weigher, weigher.state_dict() if weigher.needs_batch else before))
        return self._ascent(weights, samples)

    def update(self, samples: SampleLosses) -> None:
        """Move the policy."""
        self.base.update(samples)

    def weights(self, samples: SampleLosses) -> Tensor:
        """The policy's weights, or equal ones, (n,)."""
        weigher = self._weigher()
        self.asked.append((weigher, weigher.state_dict()))
        return self._ascent(weigher.weights(samples), samples)

    def _weigher(self) -> Policy:
        # Its last update makes another policy the active one, whose turn begins with the next step.
        return self.base.active if isinstance(self.base, Deferred) else self.base

    def _ascent(self, weights: Tensor, samples: SampleLosses) -> Tensor:
        return torch.full_like(samples.loss, 1.0 / samples.num_samples) if self.equal else weights


class DescentPass(Policy):
    """The second pass, at the perturbed weights: the policy weighs the losses there, and does not move.

    Each time it is asked it stands where it stood at the same time in the first pass, so that without a
    perturbation both passes are the same, whatever the accumulation.
    """

    def __init__(self, first: AscentPass) -> None:
        self.needs_batch = first.needs_batch
        self.asked: Iterator[tuple[Policy, dict[str, Any]]] = iter(first.asked)

    def step(self, samples: SampleLosses) -> Tensor:
        """The same as `weights`."""
        return self.weights(samples)

    def weights(self, samples: SampleLosses) -> Tensor:
        """Weights (n,) of the losses at the perturbed weights."""
        weigher, state = next(self.asked)
        moved = weigher.state_dict()
        weigher.load_state_dict(state)
        weights = weigher.weights(samples)
        weigher.load_state_dict(moved)
        return weights
