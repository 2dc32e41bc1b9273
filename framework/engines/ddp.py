"""Every process holds the whole model; gradients meet in torch's DistributedDataParallel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from framework.data.batch import Inputs
from framework.engines.base import EngineSettings
from framework.engines.precision import DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.engines.shares import share_out
from framework.engines.torch_engine import TorchEngine
from framework.registry import register


@register.engine("ddp")
class DdpEngine(TorchEngine):
    """Every process holds the whole model and optimizer; fastest while both fit.

    Args:
        precision: `fp32`, or `bf16` or `fp16`: the forward pass under autocast, weights and losses stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        compile: translate the model by torch.compile; pays off after about a minute of training.
        unused_parameters: allow parameters that take no part in a forward pass; costs a search each step.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        precision: Precision = "fp32",
        loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
        compile: bool = False,
        unused_parameters: bool = False,
    ) -> None:
        if settings.world.size == 1:
            raise ValueError(
                "engine ddp needs several processes (torchrun); on one, engine=single is the same"
            )
        super().__init__(settings, precision, loss_scale, compile=compile)
        self.local = self.compute
        self.parallel = DistributedDataParallel(
            self.model if not compile else self.compute,
            find_unused_parameters=unused_parameters,
        )
        #: DDP averages gradients over the ranks; ours are sums
        self.gradient_factor = float(settings.world.size)

    def announce(self, *, last: bool) -> None:
        self.parallel.require_backward_grad_sync = last

    def forward(self, inputs: Inputs) -> Tensor:
        # Without gradients (evaluation, the first of two passes) nothing is to be sent.
        self.compute = self.parallel if torch.is_grad_enabled() else self.local
        return super().forward(inputs)

    def backward(self, losses: Tensor, weights: Tensor) -> None:
        super().backward(losses, weights * self.gradient_factor)

    def state_dict(self) -> dict[str, Any]:
        names = dict(self.model.named_parameters(remove_duplicate=False))
        return share_out(super().state_dict(), names, self.world)
