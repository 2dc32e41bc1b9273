"""One process, plain PyTorch: the reference every other engine is compared with."""

from __future__ import annotations

from framework.engines.base import EngineSettings
from framework.engines.torch_engine import Precision, TorchEngine
from framework.registry import register


@register.engine("single")
class SingleEngine(TorchEngine):
    """One process, plain PyTorch.

    Args:
        precision: `fp32`, or `bf16`: the forward pass under autocast, weights and losses stay fp32.
        compile: translate the model by torch.compile; pays off after about a minute of training.
    """

    def __init__(
        self, settings: EngineSettings, *, precision: Precision = "fp32", compile: bool = False
    ) -> None:
        if settings.world.size != 1:
            raise ValueError(f"engine single runs on one process; this run has {settings.world.size}")
        super().__init__(settings, precision, compile)
