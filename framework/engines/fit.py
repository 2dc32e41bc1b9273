"""How much memory a model needs under each way of spreading it, and the least sharding that fits.

The formulas are those of Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion
Parameter Models", section 3.1 and figure 1, for fp32 weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.engines.base import EngineSettings
from framework.engines.birth import without_memory

#: share of the free memory that weights, gradients and optimizer may take; activations and the allocator's
#: own needs are not known before training
SHARE = 0.6
GB = 1e9


@dataclass(frozen=True)
class Sizes:
    """Bytes of a whole model.

    Attributes:
        parameters: all of them, in fp32.
        gradients: of those that are trained.
        optimizer: what it keeps per parameter.
        average: of the weights.
        block: the largest part of the model that is whole at a time when its shares are fetched.
        cast: the part of `parameters` that a copy in the precision of the forward pass takes; 0 for fp32.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    block: int
    cast: float = 0.0

    @property
    def states(self) -> int:
        """All that outlives a step."""
        return self.parameters + self.gradients + self.optimizer + self.average


@dataclass(frozen=True)
class Way:
    """One way to spread a model: the options of engine `fsdp`, or None for `ddp`, and bytes per process."""

    name: str
    fsdp: dict[str, bool] | None
    needed: float


def ways(sizes: Sizes, world_size: int, *, host_is_device: bool) -> list[Way]:
    """From the fastest to the smallest."""
    whole = sizes.parameters * (sizes.cast or 1.0)
    # One block is computed while the next one is fetched; the gradient of one is on its way.
    fetched = 3 * sizes.block * (sizes.cast or 1.0)
    share = sizes.states / world_size
    sharded = {"reshard_after_forward": True, "reduce_each_micro": True, "cpu_offload": False}
    found = [
        Way("ddp", None, sizes.states + sizes.parameters * sizes.cast),
        Way("fsdp without resharding", {**sharded, "reshard_after_forward": False}, share + whole),
        Way("fsdp", sharded, share + fetched),
    ]
    if not host_is_device:
        found.append(Way("fsdp with cpu_offload", {**sharded, "cpu_offload": True}, fetched))
    return found


def choose(candidates: list[Way], memory: float) -> tuple[Way, str]:
    """The first of `candidates` that fits into `memory` bytes, else the last; and why, in a sentence."""
    room = SHARE * memory
    chosen = next((way for way in candidates if way.needed <= room), candidates[-1])
    told = f"{room / GB:.3g} GB ({SHARE:.0%} of the {memory / GB:.3g} GB that are free)"
    smaller = candidates[: candidates.index(chosen)]
    too_large = "".join(f"; {way.name} would need {way.needed / GB:.3g} GB" for way in smaller)
    fits = "fits into" if chosen.needed <= room else "is the least there is, and more than"
    return chosen, (
        f"engine auto takes {chosen.name}: {chosen.needed / GB:.3g} GB per process of weights, gradients and"
        f" optimizer state {fits} {told}{too_large}"
    )


def sizes_of(settings: EngineSettings, cast: torch.dtype | None) -> Sizes | None:
    """What the model of `settings` takes, found without any memory; None where that is not possible."""
    model = without_memory(settings.make_model)
    if model is None:
        return None
    from framework.engines.sharded.build import blocks

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parameters = _bytes(model)
    gradients = sum(parameter.nbytes for parameter in trained)
    return Sizes(
        parameters=parameters,
        gradients=gradients,
        optimizer=_optimizer_bytes(settings, model, default=2 * gradients),
        average=parameters if settings.ema_decay is not None else 0,
        block=max((_bytes(block) for block in blocks(model)), default=parameters),
        cast=0.0 if cast is None else cast.itemsize / 4,
    )


def _bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _optimizer_bytes(settings: EngineSettings, model: nn.Module, default: int) -> int:
    """What the optimizer keeps after a step, tried on the meta device; `default` where it cannot be tried."""
    try:
        optimizer = settings.make_optimizer(list(model.named_parameters()))
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values()]
    except Exception:  # of any kind: fused kernels and optimizers that look at values know no meta device
        return default
    return sum(value.nbytes for value in states if isinstance(value, Tensor) and value.is_meta)


def free_memory(device: torch.device, environment: Mapping[str, str] = os.environ) -> float | None:
    """Bytes that this process may take: of its GPU, or its part of the host's; None where nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    host = [limit for limit in (_of_the_host(), _of_the_container()) if limit is not None]
    names = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE")
    sharing: Any = next((environment[name] for name in names if name in environment), "1")
    return min(host) / int(sharing) if host and sharing.isdigit() else None


def _of_the_host() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def _of_the_container() -> float | None:
    """What the control group, in which containers and batch jobs run, leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(float(limit) - used, 0.0) if limit.isdigit() else None
