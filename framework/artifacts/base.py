"""What a finished run leaves for the next phase of a recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from framework.config.schema import RunConfig

if TYPE_CHECKING:
    from framework.checkpoint.checkpoint import Checkpoint
    from framework.training.assemble import Run

Which = Literal["best", "latest"]


class Artifact(ABC):
    """Made of a finished run by `python -m framework produce` or by a recipe.

    Attributes:
        checkpoint: whose weights and state it is made of: the selected ones or the last ones.
        suffix: of its file; empty where it is a folder of checkpoints.
        per_sample: whether row i belongs to training sample i, so that only a run on the same samples,
            in the same order, can read it.
    """

    checkpoint: Which
    suffix: ClassVar[str] = ".npy"
    per_sample: ClassVar[bool] = True

    def objection(self, config: RunConfig) -> str:
        """Why a run of `config` cannot give it, as far as that can be seen before training; else empty."""
        return ""

    @abstractmethod
    def write(self, run: Run, checkpoint: Checkpoint, path: Path) -> str:
        """Write it to `path`, whole or not at all; every rank calls it, rank 0 writes.

        Args:
            run: assembled, and at the moment of `checkpoint`.
            checkpoint: what it is made of.
            path: the file or folder.

        Returns:
            A sentence on what it holds.

        Raises:
            UserError: the run cannot give it, or it cannot be written.
        """


def artifact_path(run_dir: Path, name: str, suffix: str) -> Path:
    """Where an artifact is unless another place is named."""
    return run_dir / "artifacts" / f"{name}{suffix}"


def is_written(path: Path) -> bool:
    """Whether a file, or a folder of checkpoints, is there as a whole."""
    return path.is_file() or (path / "latest").is_file()
