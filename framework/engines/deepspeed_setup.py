"""DeepSpeed found, imported and quiet; the environment it asks for."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import nn

from framework.errors import ConfigError, Problem, UserError
from framework.parallel.process_group import ensure_group
from framework.parallel.world import World

#: these read other parameters, or the shape of their own: ZeRO shows them flat pieces
NOT_ELEMENTWISE = ("Adafactor", "Muon")


def load_deepspeed(world: World, device: torch.device) -> ModuleType:
    """The package, with a process group to talk over.

    Raises:
        UserError: DeepSpeed is not installed.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "engine deepspeed (zero0 to zero3) needs DeepSpeed, which is not installed:"
            " pip install 'framework[deepspeed]'"
        )
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # DeepSpeed reads them also where the launcher was another one.
    os.environ.setdefault("LOCAL_RANK", str(world.local_rank))
    os.environ.setdefault("RANK", str(world.rank))
    os.environ.setdefault("WORLD_SIZE", str(world.size))
    ensure_group(device)
    # Every collective of ZeRO-3 warns of torch functions that DeepSpeed still calls by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    deepspeed: Any = importlib.import_module("deepspeed")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if device.type == "cpu":
        _without_inference_extension()
    deepspeed.init_distributed(dist_init_required=False)
    return deepspeed  # type: ignore[no-any-return]


def _without_inference_extension() -> None:
    """Do without one that takes minutes to compile at the first start, and fails it without a compiler.

    It speeds up a collective of inference only.
    """
    ops = importlib.import_module("deepspeed.ops")
    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def check_model(model: nn.Module) -> None:
    """Refuse parameters that DeepSpeed cannot send.

    Raises:
        ConfigError: naming them.
    """
    scalars = [name for name, parameter in model.named_parameters() if parameter.dim() == 0]
    if scalars:
        raise ConfigError(
            [
                Problem(
                    "model.name",
                    f"DeepSpeed cannot take parameters without a dimension ({', '.join(scalars)}): give them"
                    " the shape (1,), or take engine=ddp or fsdp",
                )
            ]
        )


def check_optimizer(optimizer: torch.optim.Optimizer, stage: int) -> None:
    """Refuse optimizers that would be silently another one on flat shards.

    Raises:
        ConfigError: with what to choose instead.
    """
    base = getattr(optimizer, "base", optimizer)
    kinds = [kind.__name__ for kind in type(base).__mro__]
    instead = "take engine=zero0, ddp or fsdp, or optimizer=adamw"
    if stage >= 1 and isinstance(base, torch.optim.Adagrad):
        raise ConfigError(
            [
                Problem(
                    "optimizer.name",
                    f"ZeRO stage {stage} replaces Adagrad by one of its own that loses the schedule and"
                    f" the parameter groups; {instead}",
                )
            ]
        )
    flat = next((kind for kind in kinds if kind in NOT_ELEMENTWISE), None)
    if stage >= 1 and flat is not None:
        raise ConfigError(
            [
                Problem(
                    "optimizer.name",
                    f"{flat} needs the shapes of parameters, and ZeRO stage {stage} shows it flat pieces"
                    f" of them; {instead}",
                )
            ]
        )
