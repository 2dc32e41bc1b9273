"""The engine that fits the number of processes."""

from __future__ import annotations

from framework.engines.base import Engine, EngineSettings
from framework.engines.ddp import DdpEngine
from framework.engines.single import SingleEngine
from framework.engines.torch_engine import Precision
from framework.registry import register


@register.engine("auto")
def auto(settings: EngineSettings, *, precision: Precision = "fp32", compile: bool = False) -> Engine:
    """The least machinery that fits: `single` on one process, `ddp` on several.

    Args:
        precision: `fp32`, or `bf16`: the forward pass under autocast, weights and losses stay fp32.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """
    if settings.world.size == 1:
        return SingleEngine(settings, precision=precision, compile=compile)
    return DdpEngine(settings, precision=precision, compile=compile)
