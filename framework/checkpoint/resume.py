"""Where a run goes on: its own newest checkpoint, or the one it was told to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from framework.checkpoint.checkpoint import Checkpoint, open_checkpoint
from framework.checkpoint.manifest import MANIFEST
from framework.checkpoint.store import CheckpointStore
from framework.errors import CheckpointError
from framework.run_folder import CHECKPOINTS


class Begun(Protocol):
    """What must be known of a run folder (`run_folder.RunFolder` is one)."""

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""

    @property
    def continued(self) -> bool:
        """Whether an earlier process began this run."""

    @property
    def source(self) -> Path | None:
        """The run or checkpoint folder to start from while the run has no checkpoint."""


def resume_point(folder: Begun) -> Checkpoint | None:
    """The checkpoint to restore before the first step, or None for a run from the beginning.

    Raises:
        CheckpointError: there are checkpoints, and none is good.
    """
    store = CheckpointStore(folder.checkpoints)
    if folder.continued and store.steps():
        return store.load()
    return None if folder.source is None else load_from(folder.source)


def load_from(source: Path) -> Checkpoint:
    """The newest good checkpoint of a run folder or of its `checkpoints`, or the one checkpoint named.

    Raises:
        CheckpointError: none is there, or none is good.
    """
    if (source / MANIFEST).exists():
        try:
            return open_checkpoint(source)
        except CheckpointError as error:
            raise CheckpointError(f"{source} is damaged: {error}") from error
    inner = source / CHECKPOINTS
    return CheckpointStore(inner if inner.is_dir() else source).load()
