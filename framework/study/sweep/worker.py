"""Who works on a trial, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def identity() -> str:
    """Host, space of process numbers, number and time of start: of no two processes alike."""
    return " ".join([*_place(), str(os.getpid()), _started(os.getpid()) or "?"])


def host_of(worker: str) -> str:
    """The host in an identity."""
    return worker.partition(" ")[0]


def is_gone(worker: str) -> bool:
    """Whether a process has certainly ended: it ran here, and none has its number and time of start."""
    parts = worker.split()
    if len(parts) != 4 or parts[:2] != _place() or not Path("/proc/self/stat").exists():
        return False
    return _started(int(parts[2])) != parts[3]


def _place() -> list[str]:
    try:
        # Containers of one host name may number their processes each on its own.
        numbering = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        numbering = "?"
    return [socket.gethostname(), numbering]


def _started(pid: int) -> str | None:
    try:
        # The name, in brackets, may hold anything; the 20th field after it is the time of start.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
