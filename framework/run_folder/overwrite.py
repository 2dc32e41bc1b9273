"""An old run put aside until the one that replaces it has begun: a typing error must not cost a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from framework.run_folder.lock import LOCK
from framework.run_folder.same_run import CONFIG
from framework.run_folder.status import STATUS

#: where the old run waits, inside its folder
ASIDE = ".overwritten"


def set_aside(path: Path) -> None:
    """Move all that `path` holds into a folder of its own in it, but for the lock.

    Raises:
        OSError: as the system says; `path` is then as it was.
    """
    recover(path)
    aside = path / ASIDE
    aside.mkdir()
    try:
        for entry in _entries(path):
            entry.rename(aside / entry.name)
    except OSError:
        put_back(path)
        raise


def discard(path: Path) -> None:
    """Delete what was set aside; its configuration first, so that half a run is never taken for one.

    Raises:
        OSError: as the system says.
    """
    aside = path / ASIDE
    (aside / CONFIG).unlink(missing_ok=True)
    if aside.exists():
        shutil.rmtree(aside)


def put_back(path: Path) -> None:
    """Restore what was set aside; what came into its place (a log that tells why) goes.

    Raises:
        OSError: as the system says.
    """
    aside = path / ASIDE
    if not aside.exists():
        return
    for entry in sorted(aside.iterdir()):
        target = path / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.replace(target)
    aside.rmdir()


def recover(path: Path) -> None:
    """Finish what a kill interrupted: the old run comes back unless the one that replaces it has begun.

    Raises:
        OSError: as the system says.
    """
    if (path / STATUS).exists() or not (path / ASIDE / CONFIG).exists():
        discard(path)
    else:
        put_back(path)


def _entries(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.name not in (LOCK, ASIDE))
