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
from typing import Any, NoReturn

from framework.errors import CheckpointError, ConfigError, Problem
from framework.run_folder import overwrite as overwriting
from framework.run_folder.lock import LOCK, Lock
from framework.run_folder.same_run import CONFIG, differences, saved_config
from framework.run_folder.status import STATUS, State, Status, read_status

_log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
AUTO = "auto"
NEVER = "never"


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
        source = None if resume in (AUTO, NEVER) else _source(resume)
        if dir is None:
            path, made = _new_folder(root / name)
            return cls(path, False, source, Lock(path), made)
        path = Path(dir)
        if path.exists() and not is_run_folder(path) and not _is_empty(path):
            _refuse(f"{path} is not empty and not a run folder: it is left alone, choose another one")
        if source is not None and source.resolve() != path.resolve() and _within(source, path):
            _refuse(f"resume={source} lies in {path}: a run that starts from it needs another run.dir")
        made = _missing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _refuse(f"{path} cannot be made: {error.strerror}")
        lock = Lock(path)
        try:
            if overwrite and source is not None and source.resolve() == path.resolve():
                _refuse(f"run.overwrite=true would delete {path}, which resume={source} is to start from")
            try:
                (overwriting.set_aside if overwrite else overwriting.recover)(path)
            except OSError as error:
                _refuse(f"{path} cannot be emptied: {error.strerror}")
            begun = _begun(path, config, resume, source)
        except BaseException:
            lock.release()
            raise
        if begun is not None:
            # A run that was told where to start and died before its first checkpoint starts there again.
            named = str(begun.get("resume", AUTO))
            source = Path(named) if named not in (AUTO, NEVER) else None
        if source is not None and source.resolve() == path.resolve():
            source = None
        return cls(path, begun is not None, source, lock, made)

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.path / CHECKPOINTS

    def set_status(self, state: State, step: int = 0, reason: str = "") -> None:
        """Say how the run stands.

        A disk that refuses it is only logged: without a later word the run counts as killed, which
        is safe, and the error that matters more is not hidden behind this one.
        """
        try:
            Status(state, step, reason).write(self.path)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.path / STATUS, error.strerror)

    def begin(self) -> None:
        """From here on there is a run: what it replaces is deleted.

        Raises:
            ConfigError: the system refuses.
        """
        try:
            overwriting.discard(self.path)
        except OSError as error:
            _refuse(f"what {self.path} held cannot be deleted: {error.strerror}")

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


def is_run_folder(path: Path) -> bool:
    """Whether a run made this folder, so that it may be overwritten when somebody asks for it."""
    return (path / LOCK).is_file() or ((path / STATUS).is_file() and (path / CONFIG).is_file())


def _begun(path: Path, config: Mapping[str, Any], resume: str, source: Path | None) -> dict[str, Any] | None:
    """The configuration of the unfinished run in `path` that is to be continued; None for nothing there."""
    status = read_status(path)
    if status is None and not (path / CHECKPOINTS).exists():
        return None
    advice = (
        "choose another run.dir, or run.overwrite=true to delete it and start anew, "
        f"or resume={path} with another run.dir to start from its last checkpoint"
    )
    if resume == NEVER:
        _refuse(f"{path} holds a run, which resume=never does not continue: {advice}")
    saved = saved_config(path)
    changed = differences(saved, config)
    complete = status is not None and status.complete
    if changed:
        which = "a finished" if complete else "an unfinished"
        listed = "".join(f"\n    {line}" for line in changed)
        _refuse(f"{path} holds {which} run of another configuration: {advice}. What differs:{listed}")
    if complete:
        _refuse(f"{path} holds this run, and it is finished: {advice}")
    if source is not None and source.resolve() != path.resolve() and not _started_from(saved, source):
        _refuse(f"{path} holds an unfinished run that did not start from {source}: resume=auto continues it")
    return saved


def _started_from(saved: Mapping[str, Any], source: Path) -> bool:
    begun_with = saved.get("resume")
    return isinstance(begun_with, str) and Path(begun_with).resolve() == source.resolve()


def _source(resume: str) -> Path:
    path = Path(resume)
    if not path.exists():
        raise CheckpointError(f"resume={resume}: there is no such folder (nor is it `auto` or `never`)")
    if not any((path / name).exists() for name in (CHECKPOINTS, "manifest.json", "latest")):
        raise CheckpointError(f"resume={resume}: this is neither a run folder nor a checkpoint")
    return path


def _missing(path: Path) -> tuple[Path, ...]:
    """The folders that have to be made for `path`, innermost first."""
    return tuple(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))


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
            _refuse(f"{path} cannot be made: {error.strerror}")
        return path, made


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _refuse(message: str) -> NoReturn:
    raise ConfigError([Problem("run.dir", message)])
