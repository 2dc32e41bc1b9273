"""The folder of one run: made new, continued, or refused with advice."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any

from framework.paths import exists
from framework.run_folder import overwrite as overwriting
from framework.run_folder.decision import AUTO, CHECKPOINTS, check_place, find, refuse, source_of
from framework.run_folder.lock import Lock
from framework.run_folder.status import read_status

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """A run folder that this process alone may write, until `close` or the end of the process.

    The one who opens a new one writes config.yaml and then the first status: only from there on is
    there a run that another start may continue.

    Attributes:
        path: the folder.
        continued: whether it holds this very run, begun by an earlier process.
        source: the run or checkpoint folder that the run starts from while it has no checkpoint of its
            own, else None.
        made: the folders that were made for it, innermost first; none if it was there.
    """

    path: Path
    continued: bool
    source: Path | None
    lock: Lock
    made: tuple[Path, ...] = ()

    @classmethod
    def open(
        cls,
        name: str,
        config: Mapping[str, Any],
        *,
        dir: str | None = None,
        overwrite: bool = False,
        resume: str = AUTO,
        root: Path = Path("runs"),
    ) -> RunFolder:
        """Find out what is to be done, and lock the folder.

        Args:
            name: the run's name; without `dir` the folder is `root/name/TIME-ID`.
            config: the resolved configuration as plain values, as config.yaml holds it.
            dir: the folder that was asked for.
            overwrite: delete what a run left in `dir`, once the run that replaces it has begun.
            resume: `auto`, `never`, or the run or checkpoint folder to start from.
            root: where folders without `dir` go.

        Raises:
            ConfigError: `dir` is in use, is no run folder, or holds another or a finished run.
            CheckpointError: `resume` names nothing that a run can start from.
        """
        source = source_of(resume)
        if dir is None:
            path, made = _new_folder(root / name)
            return cls(path, False, source, Lock(path), made)
        path = Path(dir)
        check_place(path, source, overwrite)
        made = _missing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse(f"{path} cannot be made: {error.strerror}")
        lock = Lock(path)
        try:
            try:
                (overwriting.set_aside if overwrite else overwriting.recover)(path)
            except OSError as error:
                refuse(f"{path} cannot be emptied: {error.strerror}")
            found = find(path, config, resume, source, overwrite)
        except BaseException:
            lock.release()
            raise
        return cls(path, found.continued, found.source, lock, made)

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.path / CHECKPOINTS

    def begin(self) -> None:
        """From here on there is a run: what it replaces is deleted.

        Raises:
            ConfigError: the system refuses.
        """
        try:
            overwriting.discard(self.path)
        except OSError as error:
            refuse(f"what {self.path} held cannot be deleted: {error.strerror}")

    def close(self) -> None:
        """Let another process have the folder."""
        self.lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and read_status(self.path) is None:
            if self.made:
                self._remove()
            else:
                self._restore()
        self.close()

    def _restore(self) -> None:
        """Bring back the run that was to be overwritten: the mistake was found before anything began."""
        try:
            overwriting.put_back(self.path)
        except OSError as error:
            _log.warning("%s: the old run stays in %s: %s", self.path, overwriting.ASIDE, error.strerror)

    def _remove(self) -> None:
        """Take back a folder in which no run began: a mistake in the configuration leaves no litter."""
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in self.made[1:]:
            try:
                parent.rmdir()
            except OSError:  # another run is in it by now
                return


def _missing(path: Path) -> tuple[Path, ...]:
    """The folders that have to be made for `path`, innermost first."""
    return tuple(takewhile(lambda folder: not exists(folder), (path, *path.parents)))


def _new_folder(parent: Path) -> tuple[Path, tuple[Path, ...]]:
    while True:
        # Not from the seeded generators: two runs of one seed must not meet, and nothing is drawn from them.
        path = parent / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        made = _missing(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            refuse(f"{path} cannot be made: {error.strerror}")
        return path, made
