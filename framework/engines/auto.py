"""The engine that fits the number of processes and their memory."""

from __future__ import annotations

import logging

from framework.engines import fit
from framework.engines.base import Engine, EngineSettings
from framework.engines.ddp import DdpEngine
from framework.engines.fsdp import fsdp
from framework.engines.precision import CAST, DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.engines.single import SingleEngine
from framework.parallel.collectives import smallest
from framework.registry import register

logger = logging.getLogger("framework.engines")


@register.engine("auto")
def auto(
    settings: EngineSettings,
    *,
    precision: Precision = "fp32",
    loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
    compile: bool = False,
) -> Engine:
    """`single` on one process; on several the least sharding that fits: `ddp`, else `fsdp`.

    What a model needs is estimated before it is built, and the log says what was found.

    Args:
        precision: `fp32`, or `bf16` or `fp16`: the forward pass under autocast, weights and losses stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """
    if settings.world.size == 1:
        return SingleEngine(settings, precision=precision, loss_scale=loss_scale, compile=compile)
    chosen = _chosen(settings, precision)
    if chosen is None or chosen.fsdp is None:
        return DdpEngine(settings, precision=precision, loss_scale=loss_scale, compile=compile)
    return fsdp(settings, precision=precision, loss_scale=loss_scale, compile=compile, **chosen.fsdp)


def _chosen(settings: EngineSettings, precision: Precision) -> fit.Way | None:
    sizes = fit.sizes_of(settings, CAST[precision])
    # All ranks take the same: the one with the least memory decides.
    memory = smallest(fit.free_memory(settings.device) or 0.0, settings.world)
    if sizes is None or memory == 0.0:
        unknown = "the size of the model" if sizes is None else "the free memory"
        logger.info("engine auto takes ddp: %s cannot be told beforehand", unknown)
        return None
    candidates = fit.ways(sizes, settings.world.size, host_is_device=settings.device.type == "cpu")
    chosen, reason = fit.choose(candidates, memory)
    logger.log(logging.WARNING if chosen.needed > fit.SHARE * memory else logging.INFO, reason)
    return chosen
