"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from framework.errors import CheckpointError


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
    def update(self, weights: list[Tensor] | None = None) -> None:
        """Move the average towards `weights`, by default the parameters as they stand.

        An optimizer that leaves the parameters at an extrapolated point gives the true ones, in order.
        """
        assert not self._swapped, "the parameters hold the average; leave `swap` before the next update"
        torch._foreach_lerp_(self.averages, self.parameters if weights is None else weights, 1 - self.decay)

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
        """The average by parameter name."""
        return dict(zip(self.names, self.averages, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state`.

        Raises:
            CheckpointError: names or shapes differ from the model's.
        """
        differing = set(state) ^ set(self.names)
        if differing:
            raise CheckpointError(
                f"the checkpoint's average and the model differ in {len(differing)} parameters,"
                f" the first is {min(differing)}"
            )
        for name, average in zip(self.names, self.averages, strict=True):
            if average.shape != state[name].shape:
                raise CheckpointError(
                    f"average of {name} has shape {tuple(state[name].shape)} in the checkpoint,"
                    f" {tuple(average.shape)} in the model"
                )
            average.copy_(state[name])
