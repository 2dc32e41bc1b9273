"""Renames and deletions of checkpoints such that a kill in their midst loses none and leaves none half."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.manifest import read_manifest
from framework.checkpoint.names import ASIDE, STALE_MARK, STEP
from framework.errors import CheckpointError
from framework.files import sync_folder


def put_in_place(temporary: Path, final: Path) -> None:
    """Rename a complete folder to its good name; one that holds the same stays and the new one goes."""
    if not final.exists():
        temporary.rename(final)
    elif _same(temporary, final):
        shutil.rmtree(temporary)
        return
    else:
        # A folder cannot be renamed over another. Between the two renames the old one is found
        # under its name aside, and `clear_up` brings it back if nothing took its place.
        old = final.with_name(f"{final.name}.old-{os.getpid()}")
        final.rename(old)
        temporary.rename(final)
        sync_folder(final.parent)
        delete([old])
        return
    sync_folder(final.parent)


def clear_up(folder: Path) -> None:
    """Clear up what processes left in `folder` that ended in the middle of something."""
    for path in sorted(folder.iterdir()):
        if STALE_MARK.fullmatch(path.name):
            path.unlink()
        aside = ASIDE.fullmatch(path.name)
        if aside is None or _alive(int(aside[3])):
            continue
        final = folder / aside[1]
        if aside[2] == "old" and not final.exists():
            path.rename(final)
            sync_folder(folder)
        else:
            delete([path])


def delete(folders: Sequence[Path]) -> None:
    """Delete folders of one store such that none is ever half there under a good name."""
    doomed = []
    for path in folders:
        if STEP.fullmatch(path.name) and path.is_dir():
            aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            path.rename(aside)
            doomed.append(aside)
        elif path.is_dir():
            doomed.append(path)
    if doomed:
        sync_folder(doomed[0].parent)
    for path in doomed:
        shutil.rmtree(path)


def _same(new: Path, old: Path) -> bool:
    """Whether the checkpoint in `old` is good and holds exactly the files of `new`."""
    try:
        open_checkpoint(old)
        return read_manifest(new) == read_manifest(old)
    except CheckpointError:
        return False


def _alive(pid: int) -> bool:
    """Whether another process of that number runs here; this one's own leftovers are nobody's."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
