"""One process per run folder; the system gives the lock back when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

from framework.errors import ConfigError, Problem

#: also what tells a run folder from any other
LOCK = ".run.lock"
_log = logging.getLogger(__name__)
_held: set[int] = set()


class Lock:
    """Held from construction to `release` or to the end of the process.

    Raises:
        ConfigError: another process holds it, or the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError([Problem("run.dir", f"{path} cannot be written: {error.strerror}")]) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                pid = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(self._descriptor)
                message = (
                    f"{folder} is in use by process {pid}; wait for it, end it, or choose another run.dir"
                )
                raise ConfigError([Problem("run.dir", message)]) from error
            _log.warning("%s is on a file system without locks; do not start the run twice", folder)
        _held.add(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others in; a second call does nothing."""
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process has the run folder now; also when nothing can be found out."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _forget() -> None:
    # A forked worker shares the lock with its parent and would hold it for as long as it outlives a kill.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
