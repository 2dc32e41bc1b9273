"""What the engines on plain torch share: precision, clipping, averages, points, state by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from framework.data.batch import Inputs
from framework.engines import model_state, optimizer_state
from framework.engines.base import Engine, EngineSettings
from framework.engines.precision import (
    CAST,
    LossScaleOptions,
    Precision,
    make_loss_scale,
    restore_loss_scale,
)
from framework.errors import CheckpointError
from framework.optim.ema import Ema
from framework.optim.optimistic import Optimistic
from framework.optim.perturbation import perturb
from framework.pieces import in_memory


class TorchEngine(Engine):
    """One whole model per process, plain PyTorch; a subclass says how gradients meet.

    Attributes:
        model: whose parameters are trained and saved.
        compute: what training calls; it may wrap the model.
    """

    compute: Callable[[Inputs], Tensor]

    def __init__(
        self,
        settings: EngineSettings,
        precision: Precision,
        loss_scale: LossScaleOptions,
        *,
        compile: bool = False,
    ) -> None:
        self.world = settings.world
        self.device = settings.device
        self.autocast = CAST[precision]
        self.loss_scale = make_loss_scale(precision, loss_scale)
        self.model: nn.Module = self.prepare(settings.make_model)
        named = list(self.model.named_parameters())
        self.names = {id(parameter): name for name, parameter in named}
        self.parameters = [parameter for _, parameter in named]
        self.optimizer = settings.make_optimizer(named)
        self.ema = Ema(named, settings.ema_decay) if settings.ema_decay is not None else None
        self.compute = torch.compile(self.model) if compile else self.model

    def prepare(self, make_model: Callable[[], nn.Module]) -> nn.Module:
        """The model where this process computes."""
        return make_model().to(self.device)

    def forward(self, inputs: Inputs) -> Tensor:
        if self.autocast is None:
            return self.compute(inputs)
        with torch.autocast(self.device.type, self.autocast):
            outputs = self.compute(inputs)
        return outputs.float()

    def backward(self, losses: Tensor, weights: Tensor) -> None:
        torch.autograd.backward(losses, self.scaled(weights))

    def clip(self, max_norm: float | None) -> Tensor:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.unscale(gradients)
        norm = self.norm(gradients)
        if max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, max_norm, norm, foreach=True)
        return norm

    def norm(self, tensors: list[Tensor]) -> Tensor:
        """The norm of all tensors together, over all ranks where these hold parts."""
        # What torch's get_total_norm computes, without sorting one device's tensors by device first.
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
        return norm

    @property
    def scale(self) -> float:
        """What gradients are multiplied by between `backward` and `clip`."""
        return 1.0 if self.loss_scale is None else self.loss_scale.scale

    def scaled(self, weights: Tensor) -> Tensor:
        """What `backward` is given in place of `weights`."""
        return weights if self.loss_scale is None else weights * self.scale

    def unscale(self, gradients: list[Tensor]) -> None:
        """Take the loss scale out of `gradients`, in place."""
        if self.loss_scale is not None:
            torch._foreach_mul_(gradients, 1.0 / self.scale)

    def step(self) -> None:
        self.optimizer.step()
        self.after_step()

    def after_step(self) -> None:
        """The average and the loss scale follow a step that was taken."""
        if self.loss_scale is not None:
            self.loss_scale.grow()
        if self.ema is not None:
            self.update_average(self.ema)

    def update_average(self, average: Ema) -> None:
        """The average follows the true point, also while an optimizer holds the model ahead of it."""
        with self.true_point():
            average.update()

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def own(self, tensor: Tensor) -> Tensor:
        """What this rank holds of a parameter or gradient, sharing its memory."""
        return tensor.detach()

    @contextmanager
    def perturbed(self, rho: float, *, adaptive: bool = False, add_gradient: bool = False) -> Iterator[None]:
        moved = [(p, p.grad) for p in self.parameters if p.grad is not None]
        weights = [self.own(parameter) for parameter, _ in moved]
        before = perturb(weights, [self.own(g) for _, g in moved], rho, self.norm, adaptive=adaptive)
        if not add_gradient:
            moved = []
        self.zero_grad()
        try:
            yield
        finally:
            torch._foreach_copy_(weights, before)
        for parameter, gradient in moved:
            if parameter.grad is None:  # it took no part in the passes inside
                parameter.grad = gradient.mul_(self.scale)
            else:
                self.own(parameter.grad).add_(self.own(gradient), alpha=self.scale)

    @contextmanager
    def drawn_again(self) -> Iterator[None]:
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            yield

    @contextmanager
    def preserved_state(self) -> Iterator[None]:
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        try:
            with self.drawn_again():
                yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)

    @contextmanager
    def true_point(self) -> Iterator[None]:
        with ExitStack() as stack:
            if isinstance(self.optimizer, Optimistic):
                stack.enter_context(self.optimizer.true_point())
            yield

    def averaged(self, average: Ema) -> AbstractContextManager[None]:
        """Inside, the model holds the average in place of its weights."""
        return average.swap()

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        if self.world.size > 1:
            # Statistics of normalisation layers differ between ranks; rank 0's are judged and saved.
            for buffer in self.model.buffers():
                distributed.broadcast(buffer, src=0)
        with ExitStack() as stack:
            stack.enter_context(self.true_point())
            if self.ema is not None:
                stack.enter_context(self.averaged(self.ema))
            self.model.eval()
            try:
                yield
            finally:
                self.model.train()

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.state_dict().items()

    def state_dict(self) -> dict[str, Any]:
        state = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_state.by_name(self.optimizer, self.names),
        }
        if self.loss_scale is not None:
            state["scaler"] = self.loss_scale.state_dict()
        return state if self.ema is None else {**state, "ema": self.ema.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.check_state(state)
        model_state.load(state["model"], self.model.state_dict(), "model")
        optimizer_state.load_by_name(self.optimizer, self.names, in_memory(state["optimizer"]))
        restore_loss_scale(self.loss_scale, state.get("scaler"))
        if self.ema is not None:
            model_state.load(state["ema"], self.ema.state_dict(), "average")

    def check_state(self, state: dict[str, Any]) -> None:
        """Refuse a state with other parts than this engine keeps; a loss scale may come or go.

        Raises:
            CheckpointError: naming both.
        """
        expected = {"model", "optimizer"} | ({"ema"} if self.ema is not None else set())
        if set(state) - {"scaler"} != expected:
            raise CheckpointError(f"the engine keeps {sorted(expected)}, the checkpoint has {sorted(state)}")
