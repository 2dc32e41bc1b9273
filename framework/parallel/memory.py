"""The most memory that this process has used."""

from __future__ import annotations

import resource
import sys

import torch

#: getrusage counts kibibytes, on macOS bytes
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory() -> dict[str, int | None]:
    """`peak_memory_bytes` of the process, libraries included, and `peak_device_memory_bytes`.

    The second is what torch's tensors took on the current accelerator, None without one.
    """
    device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT,
        "peak_device_memory_bytes": device,
    }
