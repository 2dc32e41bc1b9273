"""The checkpoints of one run: each is published by a rename, and never before it is complete."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from framework.checkpoint.checkpoint import META, Checkpoint, open_checkpoint, write_share
from framework.checkpoint.manifest import MANIFEST, Manifest, read_manifest
from framework.checkpoint.tree import FlatState, State, flatten
from framework.errors import CheckpointError
from framework.files import FileDigest, replace_text, sync_folder
from framework.parallel.world import World

_log = logging.getLogger(__name__)

_STEP = re.compile(r"step-(\d{8,})")
#: `tmp`: half written or half deleted; `old`: complete, being replaced by a newer one of the same step
_ASIDE = re.compile(r"(step-\d{8,})\.(tmp|old)-(\d+)")
_PART = re.compile(r"[a-z][a-z0-9_]*")
_STALE_MARK = re.compile(r"(?:latest|best)\.tmp-\d+")

Mark = Literal["latest", "best"]
LATEST: Mark = "latest"
BEST: Mark = "best"


def snapshot(
    parts: Mapping[str, State], *, copy: bool = True, pieces_only: bool = False
) -> dict[str, FlatState]:
    """The parts on the host; with `copy`, training may go on while they are written.

    Args:
        parts: state trees by name.
        copy: whether the tensors must stay as they are while the originals move on.
        pieces_only: leave out what is whole, which rank 0 writes.

    Raises:
        TypeError: a state holds something that cannot be kept.
    """
    flat = {}
    for name, state in parts.items():
        assert _PART.fullmatch(name), f"{name!r} is not a name for a part"
        assert name not in (META, Path(MANIFEST).stem), f"the part name {name!r} is taken"
        try:
            flat[name] = flatten(state, copy=copy, pieces_only=pieces_only)
        except TypeError as error:
            raise TypeError(f"part {name}: {error}") from error
    return flat


class CheckpointStore:
    """Publishes, finds, verifies and prunes the checkpoints in one folder; one at a time is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        step: int,
        parts: Mapping[str, State],
        meta: Mapping[str, Any],
        keep_last: int,
        keep: Collection[int] = (),
    ) -> Path:
        """Write a checkpoint whose states are whole, name it `latest`, and delete what need not be kept.

        Args:
            step: number of optimizer steps it is the result of.
            parts: state trees by name.
            meta: values beside the state, e.g. the configuration.
            keep_last: how many of the newest checkpoints stay, this one included.
            keep: steps that stay beside these and the one marked best.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: the disk is full or not writable; earlier checkpoints are as they were.
            TypeError: a state holds something that cannot be kept.
        """
        flat = snapshot(parts, copy=False)
        temporary = self.begin(step)
        try:
            files = write_share(temporary, flat, meta, World())
        except OSError as error:
            self.discard(temporary)
            raise CheckpointError(self.unwritable(step, error.strerror or str(error))) from error
        except BaseException:
            self.discard(temporary)
            raise
        return self.publish(temporary, step, files, keep_last, keep)

    def begin(self, step: int) -> Path:
        """An empty folder in which all ranks may write their files of a checkpoint.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        temporary = self.folder / f"{_name(step)}.tmp-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._recover()
            temporary.mkdir()
        except OSError as error:
            self.discard(temporary)
            raise CheckpointError(self.unwritable(step, error.strerror or str(error))) from error
        return temporary

    def publish(
        self,
        temporary: Path,
        step: int,
        files: Mapping[str, FileDigest],
        keep_last: int,
        keep: Collection[int] = (),
    ) -> Path:
        """Make what lies complete in `temporary` the checkpoint of `step`, and the latest one.

        Args:
            temporary: a folder of `begin`; it is gone afterwards, whatever happens.
            step: number of optimizer steps it is the result of.
            files: what all ranks wrote and flushed there.
            keep_last: how many of the newest checkpoints stay, this one included.
            keep: steps that stay beside these and the one marked best.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: the disk is full or not writable; earlier checkpoints are as they were.
        """
        assert keep_last >= 1
        final = self.folder / _name(step)
        try:
            Manifest(step, dict(sorted(files.items()))).write(temporary)
            sync_folder(temporary)
            self._publish(temporary, final)
            replace_text(self.folder / LATEST, final.name + "\n")
        except OSError as error:
            self.discard(temporary)
            raise CheckpointError(self.unwritable(step, error.strerror or str(error))) from error
        except BaseException:
            self.discard(temporary)
            raise
        self._prune(step, keep_last, keep)
        return final

    def discard(self, temporary: Path) -> None:
        """Delete a folder of `begin`, as far as the disk allows."""
        shutil.rmtree(temporary, ignore_errors=True)

    def select(self, step: int | None) -> None:
        """`mark_best`, unless it is marked already or gone.

        Raises:
            CheckpointError: the folder is not writable.
        """
        if step is None or self.marked(BEST) == step:
            return
        if step in self.steps():
            self.mark_best(step)
        else:
            # Newer checkpoints were damaged; the one selected before them was no longer kept.
            _log.warning("the selected checkpoint, of step %d, is gone", step)

    def mark_best(self, step: int) -> None:
        """Name the checkpoint of `step` `best`; it is kept until another one is.

        Raises:
            CheckpointError: there is none of that step, or the folder is not writable.
        """
        if not (self.folder / _name(step)).is_dir():
            raise CheckpointError(f"{self.folder} has no checkpoint of step {step} to mark as best")
        try:
            replace_text(self.folder / BEST, _name(step) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.folder / BEST} cannot be written: {error.strerror}") from error

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, good or bad, in ascending order."""
        return sorted({_step_of(path) for path in self._candidates()})

    def marked(self, mark: Mark) -> int | None:
        """The step that `latest` or `best` names; None when there is no such mark or it is damaged."""
        try:
            text = (self.folder / mark).read_text()
        except (OSError, ValueError):
            return None
        match = _STEP.fullmatch(text.strip())
        return int(match[1]) if match else None

    def newest(self) -> Path | None:
        """The folder that `latest` names, unverified; None when nothing was published."""
        step = self.marked(LATEST)
        return None if step is None else self.folder / _name(step)

    def load(self, which: Mark | int = "latest") -> Checkpoint:
        """Find a checkpoint and verify every file of it.

        A damaged `latest` is passed over with a warning, and the newest good one is taken.

        Raises:
            CheckpointError: there is no such checkpoint, or none that is good; with every reason.
        """
        if which == LATEST:
            return self._newest_good()
        step = self.marked(BEST) if which == BEST else int(which)
        if step is None:
            raise CheckpointError(f"{self.folder} has no checkpoint that is marked as best")
        reasons = []
        for path in self._candidates():
            if _step_of(path) == step:
                try:
                    return open_checkpoint(path)
                except CheckpointError as error:
                    reasons.append(f"{path}: {error}")
        if reasons:
            raise CheckpointError("the checkpoint is damaged:\n  " + "\n  ".join(reasons))
        there = ", ".join(map(str, self.steps())) or "none"
        raise CheckpointError(f"{self.folder} has no checkpoint of step {step} (there: {there})")

    def _newest_good(self) -> Checkpoint:
        latest = self.marked(LATEST)

        def rank(path: Path) -> tuple[bool, int, bool]:
            return _step_of(path) == latest, _step_of(path), path.name == _name(_step_of(path))

        refused: list[str] = []
        for path in sorted(self._candidates(), key=rank, reverse=True):
            try:
                checkpoint = open_checkpoint(path)
            except CheckpointError as error:
                refused.append(f"{path}: {error}")
                _log.warning("checkpoint refused: %s: %s", path, error)
                continue
            return replace(checkpoint, refused=tuple(refused))
        if refused:
            raise CheckpointError("no checkpoint is good:\n  " + "\n  ".join(refused))
        raise CheckpointError(f"{self.folder} has no checkpoint")

    def _candidates(self) -> list[Path]:
        """Folders under a good name, and those that a kill left aside in the middle of being replaced."""
        try:
            paths = sorted(path for path in self.folder.iterdir() if path.is_dir())
        except OSError:
            return []
        found = []
        for path in paths:
            aside = _ASIDE.fullmatch(path.name)
            if _STEP.fullmatch(path.name) or (aside and aside[2] == "old"):
                found.append(path)
        return found

    def _publish(self, temporary: Path, final: Path) -> None:
        if not final.exists():
            temporary.rename(final)
        elif _same(temporary, final):
            shutil.rmtree(temporary)
            return
        else:
            # A folder cannot be renamed over another. Between the two renames the old one is found
            # under its name aside, and `_recover` brings it back if nothing took its place.
            old = final.with_name(f"{final.name}.old-{os.getpid()}")
            final.rename(old)
            temporary.rename(final)
            sync_folder(self.folder)
            self._delete([old])
            return
        sync_folder(self.folder)

    def _recover(self) -> None:
        """Clear up what processes left that ended in the middle of something."""
        for path in sorted(self.folder.iterdir()):
            if _STALE_MARK.fullmatch(path.name):
                path.unlink()
            aside = _ASIDE.fullmatch(path.name)
            if aside is None or _alive(int(aside[3])):
                continue
            final = self.folder / aside[1]
            if aside[2] == "old" and not final.exists():
                path.rename(final)
                sync_folder(self.folder)
            else:
                self._delete([path])

    def _prune(self, newest: int, keep_last: int, keep: Collection[int]) -> None:
        """Delete what need not be kept; steps beyond the newest belong to a course that was given up."""
        earlier = [step for step in self.steps() if step <= newest]
        kept = {*earlier[-keep_last:], *keep, self.marked(BEST)}
        try:
            self._delete([self.folder / _name(step) for step in self.steps() if step not in kept])
        except OSError as error:
            _log.warning("old checkpoints in %s cannot be deleted: %s", self.folder, error.strerror)

    def _delete(self, folders: list[Path]) -> None:
        """Delete folders such that none is ever half there under a good name."""
        doomed = []
        for path in folders:
            if _STEP.fullmatch(path.name) and path.is_dir():
                aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
                path.rename(aside)
                doomed.append(aside)
            elif path.is_dir():
                doomed.append(path)
        if doomed:
            sync_folder(self.folder)
        for path in doomed:
            shutil.rmtree(path)

    def unwritable(self, step: int, reason: str) -> str:
        """What a user reads who has to make room."""
        path = self.folder / _name(step)
        text = f"the checkpoint {path} cannot be written: {reason}"
        try:
            free = shutil.disk_usage(self.folder).free
            text += f" ({free:,} bytes are free)"
        except OSError:
            pass
        return (
            f"{text}. Earlier checkpoints are as they were. "
            "Free space or make the folder writable, then start the same command again to continue."
        )


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _step_of(path: Path) -> int:
    return int(path.name.split(".")[0].removeprefix("step-"))


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
