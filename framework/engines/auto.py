"""The engine that fits the number of processes."""

from __future__ import annotations

from framework.engines.base import Engine, EngineSettings
from framework.engines.ddp import DdpEngine
from framework.engines.precision import DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.engines.single import SingleEngine
from framework.registry import register


@register.engine("auto")
def auto(
    settings: EngineSettings,
    *,
    precision: Precision = "fp32",
    loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
    compile: bool = False,
) -> Engine:
    """The least machinery that fits: `single` on one process, `ddp` on several.

    Args:
        precision: `fp32`, or `bf16` or `fp16`: the forward pass under autocast, weights and losses stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """
    if settings.world.size == 1:
        return SingleEngine(settings, precision=precision, loss_scale=loss_scale, compile=compile)
    return DdpEngine(settings, precision=precision, loss_scale=loss_scale, compile=compile)
