"""A run that a study starts, as the folder tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from framework.run_folder import read_status


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training in a process of its own.

    Attributes:
        folder: its run folder; what it prints is in a text file beside it.
        words: the command line after `python -m framework`.
    """

    folder: Path
    words: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What the run prints."""
        return self.folder.with_name(f"log-{self.folder.name}.txt")

    @property
    def complete(self) -> bool:
        """Whether the run is finished, or stopped early by its own rule."""
        status = read_status(self.folder)
        return status is not None and status.complete
