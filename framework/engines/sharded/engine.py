"""The engine on FSDP2: every rank holds a share of each parameter, gradient and optimizer state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from framework.data.batch import Inputs
from framework.engines import model_state, optimizer_state
from framework.engines.base import EngineSettings
from framework.engines.precision import CAST, LossScaleOptions, Precision, restore_loss_scale
from framework.engines.sharded.build import blocks, born_sharded
from framework.engines.sharded.tensors import fill, full, in_pieces, local, sharded_like
from framework.engines.torch_engine import TorchEngine
from framework.parallel.process_group import ensure_group
from framework.pieces import in_memory


@dataclass(frozen=True)
class Sharding:
    """The options of engine `fsdp`."""

    precision: Precision
    reshard_after_forward: bool
    activation_checkpointing: bool
    cpu_offload: bool
    reduce_each_micro: bool
    compile: bool


class FsdpEngine(TorchEngine):
    """One model cut over all ranks.

    Between steps every parameter that the optimizer and the average see is a sharded tensor; only inside
    a forward or backward pass are there whole ones.
    """

    def __init__(self, settings: EngineSettings, sharding: Sharding, loss_scale: LossScaleOptions) -> None:
        ensure_group(settings.device)
        self.sharding = sharding
        super().__init__(settings, sharding.precision, loss_scale)
        self.units = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        #: FSDP averages gradients over the ranks; ours are sums
        self.gradient_factor = float(settings.world.size)
        self._last = True
        self._unfinished = False

    def prepare(self, make_model: Callable[[], nn.Module]) -> nn.Module:
        home = torch.device("cpu") if self.sharding.cpu_offload else self.device
        return born_sharded(make_model, self._shard, self.world, self.device, home)

    def _shard(self, model: nn.Module) -> None:
        options = self.sharding
        mesh = init_device_mesh(self.device.type, (self.world.size,))
        offload = CPUOffloadPolicy(self.device.type == "cuda") if options.cpu_offload else OffloadPolicy()
        cut = partial(fully_shard, mesh=mesh, offload_policy=offload)
        half = CAST[options.precision]
        full = None if half is None else torch.float32
        parts = blocks(model)
        for part in parts or [model]:
            # The forward pass itself is replaced: FSDP's hooks stay outside, and names stay as they are.
            if options.compile:
                part.forward = torch.compile(part.forward)
            if options.activation_checkpointing:
                part.forward = partial(checkpoint, part.forward, use_reentrant=False)
        if half is not None:
            # Running statistics are fp32, and kernels take no weights of another type beside them.
            for module in model.modules():
                if isinstance(module, _BatchNorm) and module.affine:
                    cut(module, reshard_after_forward=False)
        for part in parts:
            policy = MixedPrecisionPolicy(half, full)
            cut(part, reshard_after_forward=options.reshard_after_forward, mp_policy=policy)
        policy = MixedPrecisionPolicy(half, full, output_dtype=torch.float32)
        # The backward pass of what remains begins right after its forward pass.
        cut(model, reshard_after_forward=False, mp_policy=policy)

    def announce(self, *, last: bool) -> None:
        last = last or self.sharding.reduce_each_micro
        if last != self._last:
            self._root.set_requires_gradient_sync(last)
            self._last = last

    def forward(self, inputs: Inputs) -> Tensor:
        outputs: Tensor = self.model(inputs)
        if torch.is_grad_enabled():
            self._unfinished = True
        else:
            # No backward pass frees what was gathered, and the weights may be exchanged before the next.
            self._reshard()
        return outputs

    def backward(self, losses: Tensor, weights: Tensor) -> None:
        super().backward(losses, weights * self.gradient_factor)
        self._unfinished = not self._last

    def clip(self, max_norm: float | None) -> Tensor:
        gradients = [local(p.grad) for p in self.parameters if p.grad is not None]
        self.unscale(gradients)
        norm = self.norm(gradients)
        if max_norm is not None:
            # The factor of torch's clip_grad_norm_.
            torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm.to(self.device)

    def norm(self, tensors: list[Tensor]) -> Tensor:
        return self.all_sum(super().norm(tensors).double().square()).sqrt().float()

    def own(self, tensor: Tensor) -> Tensor:
        return local(tensor.detach())

    @contextmanager
    def perturbed(self, rho: float, *, adaptive: bool = False, add_gradient: bool = False) -> Iterator[None]:
        with super().perturbed(rho, adaptive=adaptive, add_gradient=add_gradient):
            yield
            if self._unfinished:
                # No backward pass freed what was gathered at the perturbed weights.
                self.zero_grad()
                self._reshard()

    def zero_grad(self) -> None:
        super().zero_grad()
        if self._unfinished:
            self._abandon()

    def _abandon(self) -> None:
        """Forget a forward pass that no backward pass followed, and gradients that were not sent yet."""
        self._root.reset_iter_state()
        for unit in self.units:
            # No public call reaches gradients that wait for the last micro-batch.
            for group in unit._get_fsdp_state()._fsdp_param_groups:
                for parameter in group.fsdp_params:
                    parameter.unsharded_accumulated_grad = None
                    if hasattr(parameter, "_unsharded_param"):
                        parameter._unsharded_param.grad = None
        self._unfinished = False

    def _reshard(self) -> None:
        for unit in self.units:
            unit.reshard()

    @property
    def _root(self) -> FSDPModule:
        assert isinstance(self.model, FSDPModule)
        return self.model

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole parameters and persistent buffers, one at a time; every rank goes through all of them."""
        for name, tensor in self.model.state_dict().items():
            yield name, full(tensor)

    def state_dict(self) -> dict[str, Any]:
        # The parameters themselves: one that has several names is one piece.
        state = {**super().state_dict(), "model": self.model.state_dict(keep_vars=True)}
        pieces: dict[str, Any] = in_pieces(state)
        return pieces

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.check_state(state)
        model_state.load(state["model"], self.model.state_dict(), "model", fill)
        parameters = dict(self.model.named_parameters())
        saved = state["optimizer"]
        moments = {
            name: {key: sharded_like(value, parameters[name]) for key, value in of_one.items()}
            if name in parameters
            else of_one
            for name, of_one in saved["state"].items()
        }
        groups = in_memory(saved["groups"])
        optimizer_state.load_by_name(self.optimizer, self.names, {"groups": groups, "state": moments})
        if self.ema is not None:
            model_state.load(state["ema"], self.ema.state_dict(), "average", fill)
        restore_loss_scale(self.loss_scale, state.get("scaler"))
