"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average <- decay * average + (1 - decay) * weights, after every optimizer step.

    The average starts at the weights it is built from, so it needs no correction for a start at zero;
    those weights keep the share decay ** steps, i.e. they are forgotten after a few times
    1 / (1 - decay) steps.

    Args:
        parameters: named parameters to average; the average lives on their devices, in their dtypes.
        decay: share of the old average kept at each step.
    """

    def __init__(self, parameters: Sequence[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in parameters]
        self.parameters: list[Tensor] = [parameter for _, parameter in parameters]
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameters as they stand."""
        assert not self._swapped, "the parameters hold the average; leave `swap` before the next update"
        torch._foreach_lerp_(self.averages, self.parameters, 1 - self.decay)

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Inside, the parameters hold the average; they get their own values back on exit.

        Values move between the two storages, one tensor at a time, so nothing that points at a
        parameter's memory notices and no second copy of the model is ever made.
        """
        assert not self._swapped, "the parameters hold the average already"
        self._exchange()
        self._swapped = True
        try:
            yield
        finally:
            self._swapped = False
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by parameter name, sharing its memory."""
        return dict(zip(self.names, self.averages, strict=True))
