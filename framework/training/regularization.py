"""The regularizers of a run as the step uses them: columns beside the loss, and factors beside its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.policies.base import SampleLosses
from framework.regularizers.base import Regularizer
from framework.tasks.base import Task


@dataclass(frozen=True)
class Regularization:
    """All regularizers of a run, in the order of the configuration; there may be none."""

    regularizers: Sequence[Regularizer] = ()

    def __bool__(self) -> bool:
        return bool(self.regularizers)

    def stripped(self, outputs: Tensor) -> Tensor:
        """What the model itself put out."""
        for regularizer in reversed(self.regularizers):
            outputs = regularizer.stripped(outputs)
        return outputs

    def terms(self, outputs: Tensor, batch: Batch, task: Task) -> dict[str, Tensor]:
        """A column (micro,) with gradient for each regularizer, by the name under which it is gathered."""
        own, terms = self.stripped(outputs), {}
        for number, regularizer in reversed(list(enumerate(self.regularizers))):
            rest = regularizer.stripped(outputs)
            terms[_column(number)] = regularizer.terms(own if rest is outputs else outputs, batch, task)
            outputs = rest
        return dict(reversed(terms.items()))

    def factors(self, weights: Tensor, samples: SampleLosses, share: float) -> tuple[Tensor, Tensor]:
        """What multiplies loss and terms in the gradient, (n, 1 + regularizers), and the sum of penalties.

        Args:
            weights: of the losses, (n,).
            share: factor on the penalties: the part of the step's samples that are in `samples`.
        """
        columns, total = [weights], weights.new_zeros(())
        for number, regularizer in enumerate(self.regularizers):
            with torch.enable_grad():
                terms = samples.extra[_column(number)].double().requires_grad_()
                penalty = share * regularizer.penalty(terms, samples)
                (slopes,) = torch.autograd.grad(penalty, terms)
            columns.append(slopes.to(weights.dtype))
            total = total + penalty.detach().to(weights.dtype)
        return torch.stack(columns, dim=1), total

    def count_step(self) -> None:
        """A step was taken."""
        for regularizer in self.regularizers:
            regularizer.num_steps += 1


def _column(number: int) -> str:
    return f"regularizer.{number}"
