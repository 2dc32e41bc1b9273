"""The global batch of a training loop that is not this package's.

The engines gather for the step; this serves `Policy.objective`, which lies below them, in a loop of somebody
else's under an initialised `torch.distributed`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """Processes of the default process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def collect(columns: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """The rows of all processes, rank after rank, and the position of this one's first row.

    Every process calls it with the same columns; the number of rows may differ. Numbers travel as
    float64, which holds every float32 and every id below 2^53.
    """
    own = torch.stack([column.double() for column in columns.values()])
    sizes = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(num_processes())]
    dist.all_gather(sizes, torch.full_like(sizes[0], own.shape[1]))
    # The host has to know the sizes to cut the padding off: one wait for the device.
    counts = [int(count) for count in torch.cat(sizes).tolist()]
    padded = torch.nn.functional.pad(own, (0, max(counts) - own.shape[1]))
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    rows = torch.cat([part[:, :count] for part, count in zip(parts, counts, strict=True)], dim=1)
    gathered = {name: row.to(column.dtype) for (name, column), row in zip(columns.items(), rows, strict=True)}
    return gathered, sum(counts[: dist.get_rank()])
