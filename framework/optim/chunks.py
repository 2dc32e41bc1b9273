"""Many tensors at once, a bounded amount of memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

#: Bytes of optimizer state, gradients or parameters that exist twice at any moment, by device type: on a
#: CPU what the cache holds (measured: half the time of 64 MiB), elsewhere enough to fill the device.
CHUNK_BYTES = {"cpu": 2**20, "other": 2**26}


def chunks(parameters: Sequence[Tensor], sizes: Sequence[int]) -> Iterator[list[Tensor]]:
    """Consecutive parameters of at most `CHUNK_BYTES` together; a larger one comes alone.

    Args:
        parameters: in order.
        sizes: bytes that count for each.
    """
    chunk: list[Tensor] = []
    total = 0
    for parameter, size in zip(parameters, sizes, strict=True):
        limit = CHUNK_BYTES.get(parameter.device.type, CHUNK_BYTES["other"])
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0
        chunk.append(parameter)
        total += size
    if chunk:
        yield chunk


def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target, in one kernel per device and dtype where there is one."""
    kinds: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(map(_local, targets), map(_local, sources), strict=True):
        same_kind = kinds.setdefault((target.device, target.dtype), ([], []))
        same_kind[0].append(target)
        same_kind[1].append(source)
    for same_targets, same_sources in kinds.values():
        torch._foreach_copy_(same_targets, same_sources)


def clone_states(states: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Independent copies of per-parameter states."""
    clones = [
        {k: torch.empty_like(v) if isinstance(v, Tensor) else deepcopy(v) for k, v in state.items()}
        for state in states
    ]
    pairs = [
        (clone[key], value)
        for clone, state in zip(clones, states, strict=True)
        for key, value in state.items()
        if isinstance(value, Tensor)
    ]
    copy_all([target for target, _ in pairs], [source for _, source in pairs])
    return clones


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard of a distributed tensor, sharing its memory: `_foreach_copy_` knows no other."""
    # Asked by attribute: importing the class takes as long as importing torch does.
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
