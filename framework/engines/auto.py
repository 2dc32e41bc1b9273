"""The engine that fits the number of processes."""

from __future__ import annotations

from typing import Literal

from framework.engines.base import Engine, EngineSettings
from framework.engines.single import SingleEngine
from framework.registry import register


@register.engine("auto")
def auto(
    settings: EngineSettings, *, precision: Literal["fp32", "bf16"] = "fp32", compile: bool = False
) -> Engine:
    """The least machinery that fits: `single` on one process.

    Args:
        precision: `fp32`, or `bf16`: the forward pass under autocast, weights and losses stay fp32.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """
    return SingleEngine(settings, precision=precision, compile=compile)
