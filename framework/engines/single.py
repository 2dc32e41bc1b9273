"""One process, plain PyTorch: the reference every other engine is compared with."""

from __future__ import annotations

from framework.engines.base import EngineSettings
from framework.engines.precision import DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.engines.torch_engine import TorchEngine
from framework.registry import register


@register.engine("single")
class SingleEngine(TorchEngine):
    """One process, plain PyTorch.

    Args:
        precision: `fp32`, or `bf16` or `fp16`: the forward pass under autocast, weights and losses stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        precision: Precision = "fp32",
        loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
        compile: bool = False,
    ) -> None:
        if settings.world.size != 1:
            raise ValueError(f"engine single runs on one process; this run has {settings.world.size}")
        super().__init__(settings, precision, loss_scale, compile=compile)
