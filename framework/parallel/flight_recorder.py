"""NCCL's flight recorder: what each process was exchanging when an exchange did not end.

Gloo, the backend of processes on CPUs, has none.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

#: newer name, older name; whichever a user has set is left alone
_BUFFER_SIZE = ("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE")
_DUMP_FILE = ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE")
_DUMP_ON_TIMEOUT = "TORCH_NCCL_DUMP_ON_TIMEOUT"
#: the last so many exchanges are kept, at some hundred bytes each
_NUM_ENTRIES = 2000


def switch_on(environment: MutableMapping[str, str] = os.environ) -> None:
    """Record exchanges, and write them to a file when one takes longer than the group's timeout.

    Called before the process group begins, which is when NCCL reads the environment.
    """
    _set(_BUFFER_SIZE, str(_NUM_ENTRIES), environment)
    environment.setdefault(_DUMP_ON_TIMEOUT, "1")


def dump_into(folder: Path, rank: int, environment: MutableMapping[str, str] = os.environ) -> Path:
    """Have the file written into `folder`; returns its path.

    The path is read when the first file is written, so the group may have begun. The file is a pickle of
    torch's own; `python -m torch.distributed.flight_recorder.fr_trace` explains it.
    """
    _set(_DUMP_FILE, str(folder.absolute() / "collectives-rank-"), environment)
    # torch puts the rank at the end.
    return Path(f"{next(environment[name] for name in _DUMP_FILE if name in environment)}{rank}")


def _set(names: tuple[str, ...], value: str, environment: MutableMapping[str, str]) -> None:
    if not any(name in environment for name in names):
        environment.update(dict.fromkeys(names, value))
