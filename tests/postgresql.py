"""A PostgreSQL server of the test's own, where the binaries are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
#: the server refuses to run as root; Debian's package makes this user
USER = "postgres" if os.geteuid() == 0 else None


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database that only this machine can reach, through a socket in a folder."""
    # Not pytest's folder: another user could not enter it. Its path is short, as those of sockets must be.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if USER is not None:
            shutil.chown(folder, USER)
        data, log = folder / "data", folder / "log"
        _run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        _run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _run(program: str, *words: str | Path) -> None:
    command = [FOLDERS[-1] / program, *words]
    # A server keeps what it inherits: a pipe would never end.
    done = subprocess.run(command, user=USER, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert done.returncode == 0, command
