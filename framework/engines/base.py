"""What an engine does for the step: forward, gradient sums, clipping, optimizer, sums over ranks, state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from framework.data.batch import Inputs
from framework.engines.precision import LossScale
from framework.parallel.collectives import all_sum, gather_rows
from framework.parallel.world import World


@dataclass(frozen=True)
class EngineSettings:
    """What the assembly hands to every engine.

    Attributes:
        make_model: builds the model with its initial weights; they follow from the seed alone, so they are
            the same wherever it is called. Under `torch.device("meta")` it gives shapes without memory.
        make_optimizer: builds the optimizer, with any wrapper, from named parameters.
        world: the processes of the run.
        device: where this process computes.
        ema_decay: share of the old average kept at each step, or None.
    """

    make_model: Callable[[], nn.Module]
    make_optimizer: Callable[[list[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
    world: World
    device: torch.device
    ema_decay: float | None = None


class Engine(ABC):
    """Runs one model under one way of spreading it over processes.

    Attributes:
        loss_scale: by which gradients are multiplied until `clip`; None where the precision needs none.

    Gradients are SUMS over ranks and micro-batches of what `backward` is given; whatever factor the
    machinery below applies is cancelled inside the engine.
    """

    world: World
    device: torch.device
    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss_scale: LossScale | None = None
    #: a state is read from the disk tensor by tensor, as `load_state_dict` comes to it
    takes_stored: ClassVar = True
    #: whether it can move the parameters for the length of a pass: `perturbed`
    can_perturb: bool = True

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """The model's outputs in the engine's precision, as float32."""

    def announce(self, *, last: bool) -> None:
        """Said before each forward pass that a backward pass follows: whether it is the step's last one.

        Only the last one needs to send gradients to other ranks.
        """

    @abstractmethod
    def backward(self, losses: Tensor, weights: Tensor) -> None:
        """Add the gradient of sum_i weights_i * losses_i, both (n,), n possibly 0."""

    @abstractmethod
    def clip(self, max_norm: float | None) -> Tensor:
        """The global gradient norm (a scalar) before clipping it to `max_norm`; once before each step.

        It takes out the loss scale, if there is one. A norm that is not finite forbids the step.
        """

    @abstractmethod
    def step(self) -> None:
        """Move the parameters by the accumulated gradient, and the average of the weights with them."""

    @abstractmethod
    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""

    def forget_moments(self) -> None:
        """Forget what the optimizer keeps of earlier gradients; options and rates stay."""
        # On shards as without: the optimizer makes its state at the next step, as it did at the first.
        self.optimizer.state.clear()

    def gather(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """Concatenate every rank's rows (equally many on each), rank after rank, the same on all."""
        return gather_rows(columns, self.world)

    def all_sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over the ranks, the same on all."""
        return all_sum(values, self.world)

    @abstractmethod
    def drawn_again(self) -> AbstractContextManager[None]:
        """On exit the random numbers that were drawn inside are those that come next."""

    @abstractmethod
    def perturbed(
        self, rho: float, *, adaptive: bool = False, add_gradient: bool = False
    ) -> AbstractContextManager[None]:
        """Inside, the parameters are `rho` away along the accumulated gradient, which is forgotten.

        On exit they are back, bit for bit. The gradient is global and finite, and `clip` has taken out its
        loss scale; the distance is measured over all parameters of all ranks.

        Args:
            adaptive: multiply each element of the gradient by its weight, and the step once more.
            add_gradient: on exit add the forgotten gradient to that of the passes made inside.
        """

    @abstractmethod
    def preserved_state(self) -> AbstractContextManager[None]:
        """A forward pass inside leaves no trace: RNG and the model's buffers are put back on exit."""

    @abstractmethod
    def true_point(self) -> AbstractContextManager[None]:
        """Inside, the model holds the point that training moves, not one an optimizer looks ahead to.

        Checkpoints are written inside it.
        """

    @abstractmethod
    def evaluation_weights(self) -> AbstractContextManager[None]:
        """Inside, the model is in eval mode and holds the weights to be judged and exported.

        These are the average if there is one, else the true point of an extrapolating optimizer.
        """

    @abstractmethod
    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The model's parameters and persistent buffers as they stand, by name."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """`model`, `optimizer` (by parameter name), and `ema`, `scaler` where they are; not a copy.

        What is spread over the ranks stands there as this rank's piece of the whole tensor of a name; what
        every rank has is there whole. No tensor is gathered.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of any engine and any number of ranks; every rank calls it.

        Tensors are whole, in memory or still on the disk (`pieces.Stored`): a rank reads what it keeps.

        Raises:
            CheckpointError: names or shapes do not fit.
        """
