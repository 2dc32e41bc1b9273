"""A disk whose n-th operation goes wrong: the process is killed, the power fails, or it is an error."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

OPERATIONS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
KILLED = 9
DONE = 0


class Disk:
    """Stands in for the functions of `os` that change a disk, and calls `fault` at the n-th call.

    It remembers what a power cut would take: content that was not flushed, and renames in folders that
    were not flushed after them.
    """

    def __init__(self, nth: int, fault: Callable[["Disk"], None]) -> None:
        self.nth, self.fault = nth, fault
        self.count = 0
        self.real = {name: getattr(os, name) for name in OPERATIONS}
        self.unflushed: set[int] = set()
        self.renames: list[tuple[Path, Path, Path | None]] = []

    def __enter__(self) -> "Disk":
        for name in OPERATIONS:
            setattr(os, name, self._wrap(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self.real.items():
            setattr(os, name, function)

    def _wrap(self, name: str) -> Callable:
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.nth:
                if name == "write":
                    descriptor, content = args
                    self.unflushed.add(os.fstat(descriptor).st_ino)
                    self.real["write"](descriptor, content[: len(content) // 2])
                self.fault(self)
            return getattr(self, f"_{name}", self.real[name])(*args, **kwargs)

        return call

    def _write(self, descriptor, content):
        self.unflushed.add(os.fstat(descriptor).st_ino)
        return self.real["write"](descriptor, content)

    def _fsync(self, descriptor):
        self.unflushed.discard(os.fstat(descriptor).st_ino)
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.renames = [r for r in self.renames if r[1].parent != folder]
        return self.real["fsync"](descriptor)

    def _rename(self, source, target):
        source, target = Path(source), Path(target)
        backup = None
        if target.is_file():
            backup = target.parent.parent / f"backup-{len(self.renames)}"
            os.link(target, backup)
        self.renames.append((source, target, backup))
        self.real["replace"](source, target)

    _replace = _rename

    def lose_unflushed(self, root: Path) -> None:
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unflushed:
                os.truncate(path, 0)
        for source, target, backup in reversed(self.renames):
            self.real["rename"](target, source)
            if backup is not None:
                self.real["rename"](backup, target)


def kill_at(nth: int, action: Callable[[], object], *, power_cut_of: Path | None = None) -> int:
    """Run `action` in a process that ends at its n-th disk operation; KILLED, or DONE if it has fewer."""
    child = os.fork()
    if child == 0:
        code = 1

        def fault(disk: Disk) -> None:
            if power_cut_of is not None:
                disk.lose_unflushed(power_cut_of)
            os._exit(KILLED)

        try:
            with Disk(nth, fault):
                action()
            code = DONE
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fail_at(
    nth: int, action: Callable[[], object], *, code: int = errno.ENOSPC, forever: bool = False
) -> int:
    """Run `action` with an error at the n-th operation, and at all later ones too if `forever`.

    Returns the number of operations that were tried; what `action` raises comes through.
    """

    def fault(disk: Disk) -> None:
        disk.nth += forever
        raise OSError(code, os.strerror(code))

    with Disk(nth, fault) as disk:
        action()
    return disk.count
