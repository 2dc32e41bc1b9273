"""DeepSpeed's ZeRO: optimizer state, gradients and parameters spread over the processes, stage by stage."""

from __future__ import annotations

from typing import Any, Literal

from framework.engines.base import Engine, EngineSettings
from framework.engines.deepspeed_config import check_added
from framework.engines.deepspeed_replicated import DeepSpeedEngine
from framework.engines.deepspeed_zero import ZeroEngine
from framework.engines.precision import DEFAULT_LOSS_SCALE, LossScaleOptions, Precision
from framework.errors import ConfigError, Problem
from framework.registry import register

Stage = Literal[0, 1, 2, 3]


@register.engine("deepspeed")
def deepspeed(
    settings: EngineSettings,
    *,
    stage: Stage = 1,
    offload_optimizer: bool = False,
    offload_parameters: bool = False,
    precision: Precision = "fp32",
    loss_scale: LossScaleOptions = DEFAULT_LOSS_SCALE,
    compile: bool = False,
    deepspeed: dict[str, Any] | None = None,
) -> Engine:
    """DeepSpeed's ZeRO, as the presets zero0 to zero3, zero2_offload and zero3_offload.

    Args:
        stage: what is spread over the processes: 0 nothing, 1 optimizer state, 2 and gradients, 3 and
            parameters. From stage 1 on an optimizer must treat each number on its own.
        offload_optimizer: keep the optimizer's state, and make its steps, in host memory (stages 1 to 3).
        offload_parameters: keep the shards of the parameters in host memory (stage 3).
        precision: `fp32`, or `bf16` or `fp16`: the forward pass under autocast, weights and losses stay fp32.
        loss_scale: the scale that gradients of `fp16` are computed at: `initial`, doubled after
            `growth_interval` steps, halved by an overflow down to `smallest`.
        compile: translate the model by torch.compile (stages 0 to 2); pays off after about a minute of
            training.
        deepspeed: further keys of DeepSpeed's own configuration; they may not contradict the run's.
    """
    added = deepspeed or {}
    check_added(added)
    problems = []
    if offload_optimizer and stage == 0:
        problems.append(Problem("engine.offload_optimizer", "needs engine.stage 1, 2 or 3"))
    if offload_parameters and stage != 3:
        problems.append(Problem("engine.offload_parameters", "needs engine.stage 3"))
    if compile and stage == 3:
        # Its hooks, which fetch the parameters of every layer, break the translation at each of them.
        problems.append(Problem("engine.compile", "needs engine.stage 0, 1 or 2; engine=fsdp can compile"))
    if problems:
        raise ConfigError(problems)
    options: dict[str, Any] = {
        "stage": stage,
        "offload_optimizer": offload_optimizer,
        "offload_parameters": offload_parameters,
        "added": added,
    }
    if stage == 0:
        return DeepSpeedEngine(settings, precision, loss_scale, options, compile=compile)
    return ZeroEngine(settings, precision, loss_scale, options, compile=compile)
