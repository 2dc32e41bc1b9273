"""A regularizer: a penalty that is a function of one further number per sample of the global batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from framework.data.batch import Batch
from framework.policies.base import SampleLosses
from framework.tasks.base import Task


class Regularizer(ABC):
    """Adds a penalty to the objective: sum_i weights_i * loss_i + penalty(terms of the global batch).

    `terms` gives one differentiable number per sample of a micro-batch. They are gathered like losses, the
    step differentiates `penalty` by them, and the model's gradient is that of sum_i slope_i * term_i with
    fixed slopes: by the chain rule that of the penalty, on any number of processes and micro-batches.

    Attributes:
        needs_groups: whether the data must define groups.
        num_steps: steps taken so far; skipped ones do not count.
    """

    needs_groups: bool = False
    num_steps: int = 0

    def attach(self, model: nn.Module) -> None:
        """Change the new model, whose weights are those of the start; what is added is trained and saved.

        Raises:
            ValueError: the model is not of a kind that this regularizer can work with.
        """

    def stripped(self, outputs: Tensor) -> Tensor:
        """The model's outputs in training without what `attach` made it append."""
        return outputs

    @abstractmethod
    def terms(self, outputs: Tensor, batch: Batch, task: Task) -> Tensor:
        """One number per sample (micro,), with gradient where `outputs` (micro, ...) have one.

        To a regularizer that makes the model append something these are the outputs with it.
        """

    @abstractmethod
    def penalty(self, terms: Tensor, samples: SampleLosses) -> Tensor:
        """A scalar from the terms (n,) float64 of the global batch, differentiable by them."""

    def state_dict(self) -> dict[str, Any]:
        """The number of steps."""
        return {"num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the number of steps."""
        self.num_steps = int(state["num_steps"])
