"""The checkpoints of one run: each is published by a rename, and never before it is complete."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework.checkpoint.checkpoint import Checkpoint, open_checkpoint, write_share
from framework.checkpoint.manifest import Manifest
from framework.checkpoint.names import BEST, LATEST, Mark, candidates, marked, name_of, step_of
from framework.checkpoint.placing import clear_up, delete, put_in_place
from framework.checkpoint.snapshot import snapshot
from framework.checkpoint.tree import State
from framework.errors import CheckpointError
from framework.files import FileDigest, replace_text, sync_folder
from framework.parallel.world import World

_log = logging.getLogger(__name__)


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
            PluginError: a state holds something that cannot be kept.
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
        temporary = self.folder / f"{name_of(step)}.tmp-{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            clear_up(self.folder)
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
        final = self.folder / name_of(step)
        try:
            Manifest(step, dict(sorted(files.items()))).write(temporary)
            sync_folder(temporary)
            put_in_place(temporary, final)
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
        if not (self.folder / name_of(step)).is_dir():
            raise CheckpointError(f"{self.folder} has no checkpoint of step {step} to mark as best")
        try:
            replace_text(self.folder / BEST, name_of(step) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.folder / BEST} cannot be written: {error.strerror}") from error

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, good or bad, in ascending order."""
        return sorted({step_of(path) for path in candidates(self.folder)})

    def marked(self, mark: Mark) -> int | None:
        """The step that `latest` or `best` names; None when there is no such mark or it is damaged."""
        return marked(self.folder, mark)

    def newest(self) -> Path | None:
        """The folder that `latest` names, unverified; None when nothing was published."""
        step = self.marked(LATEST)
        return None if step is None else self.folder / name_of(step)

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
        for path in candidates(self.folder):
            if step_of(path) == step:
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
            return step_of(path) == latest, step_of(path), path.name == name_of(step_of(path))

        refused: list[str] = []
        for path in sorted(candidates(self.folder), key=rank, reverse=True):
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

    def _prune(self, newest: int, keep_last: int, keep: Collection[int]) -> None:
        """Delete what need not be kept; steps beyond the newest belong to a course that was given up."""
        earlier = [step for step in self.steps() if step <= newest]
        kept = {*earlier[-keep_last:], *keep, self.marked(BEST)}
        try:
            delete([self.folder / name_of(step) for step in self.steps() if step not in kept])
        except OSError as error:
            _log.warning("old checkpoints in %s cannot be deleted: %s", self.folder, error.strerror)

    def unwritable(self, step: int, reason: str) -> str:
        """What a user reads who has to make room."""
        path = self.folder / name_of(step)
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
