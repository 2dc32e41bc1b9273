"""DeepSpeed around a model that every process holds whole; the sharded stages build on it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from framework.engines.base import EngineSettings
from framework.engines.deepspeed_config import generate
from framework.engines.deepspeed_setup import check_model, check_optimizer, load_deepspeed
from framework.engines.precision import LossScaleOptions, Precision
from framework.engines.shares import share_out
from framework.engines.torch_engine import TorchEngine
from framework.errors import ConfigError, Problem


class DeepSpeedEngine(TorchEngine):
    """Stage 0: every process holds everything; DeepSpeed averages the gradients.

    Attributes:
        parallel: DeepSpeed's engine.
        gradient_factor: DeepSpeed averages gradients over the ranks; ours are sums.
    """

    def __init__(
        self,
        settings: EngineSettings,
        precision: Precision,
        loss_scale: LossScaleOptions,
        options: dict[str, Any],
        *,
        compile: bool = False,
    ) -> None:
        package: Any = load_deepspeed(settings.world, settings.device)
        super().__init__(settings, precision, loss_scale)
        check_model(self.model)
        check_optimizer(self.optimizer, options["stage"])
        # By name, before DeepSpeed puts shards into them.
        self.groups = [[self.names[id(p)] for p in group["params"]] for group in self.optimizer.param_groups]
        config = generate(
            **options,
            autocast=self.autocast is not None,
            world_size=self.world.size,
            num_parameters=sum(parameter.numel() for parameter in self.parameters),
        )
        self.fill(package, config)
        try:
            self.parallel, *_ = package.initialize(
                model=self.model, optimizer=self.optimizer, config=config, dist_init_required=False
            )
        except ValueError as error:
            # pydantic's, about keys inside a section
            raise ConfigError([Problem("engine.deepspeed", str(error))]) from error
        self.gradient_factor = float(self.world.size)
        self.compute = self.parallel
        if compile:
            self.model.compile()  # in place: DeepSpeed goes on calling the model that it was given
        # DeepSpeed takes models in eval mode as they are.
        self.model.train()

    def fill(self, package: Any, config: dict[str, Any]) -> None:
        """Give the model its values, where `prepare` left that to this moment."""

    def announce(self, *, last: bool) -> None:
        self.parallel.set_gradient_accumulation_boundary(last)

    def backward(self, losses: Tensor, weights: Tensor) -> None:
        objective = (self.scaled(weights) * losses).sum() * self.gradient_factor
        self.parallel.backward(objective, scale_wrt_gas=False)

    def step(self) -> None:
        self.parallel.step()
        self.after_step()

    def state_dict(self) -> dict[str, Any]:
        names = dict(self.model.named_parameters(remove_duplicate=False))
        return share_out(super().state_dict(), names, self.world)
