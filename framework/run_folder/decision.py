"""What a start finds in the folder it was given, and whether it may go on there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from framework.errors import CheckpointError, ConfigError, Problem
from framework.paths import exists, is_file, is_folder
from framework.run_folder.lock import LOCK, is_held
from framework.run_folder.same_run import CONFIG, differences, saved_config
from framework.run_folder.status import STATUS, read_status

CHECKPOINTS = "checkpoints"
AUTO = "auto"
NEVER = "never"


@dataclass(frozen=True)
class Finding:
    """What a start would do.

    Attributes:
        path: the run folder, or the folder in which a fresh one would be made.
        continued: whether it holds this very run, begun by an earlier process.
        source: the run or checkpoint folder that the run starts from while it has no checkpoint of its
            own, else None.
    """

    path: Path
    continued: bool
    source: Path | None

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints are."""
        return self.path / CHECKPOINTS


def examine(
    name: str,
    config: Mapping[str, Any],
    *,
    dir: str | None,
    overwrite: bool,
    resume: str,
    root: Path = Path("runs"),
) -> Finding:
    """What `RunFolder.open` would do; nothing is made, locked or deleted.

    Raises:
        ConfigError: `dir` is in use, is no run folder, or holds another or a finished run.
        CheckpointError: `resume` names nothing that a run can start from.
    """
    source = source_of(resume)
    if dir is None:
        return Finding(root / name, False, source)
    path = Path(dir)
    check_place(path, source, overwrite)
    if is_folder(path) and is_held(path):
        refuse(f"{path} is in use by another process; wait for it, end it, or choose another run.dir")
    return find(path, config, resume, source, overwrite)


def check_place(path: Path, source: Path | None, overwrite: bool) -> None:
    """Refuse a folder in which no run may begin.

    Raises:
        ConfigError: it holds what no run made, or the run to start from.
    """
    if exists(path) and not is_run_folder(path) and not _is_empty(path):
        refuse(f"{path} is not empty and not a run folder: it is left alone, choose another one")
    if source is None:
        return
    if source.resolve() != path.resolve() and _within(source, path):
        refuse(f"resume={source} lies in {path}: a run that starts from it needs another run.dir")
    if overwrite and source.resolve() == path.resolve():
        refuse(f"run.overwrite=true would delete {path}, which resume={source} is to start from")


def find(path: Path, config: Mapping[str, Any], resume: str, source: Path | None, overwrite: bool) -> Finding:
    """What is to be done in `path`, which `check_place` allows.

    Raises:
        ConfigError: it holds another run, or a finished one.
    """
    begun = None if overwrite else _begun(path, config, resume, source)
    if begun is not None:
        # A run that was told where to start and died before its first checkpoint starts there again.
        named = str(begun.get("resume", AUTO))
        source = Path(named) if named not in (AUTO, NEVER) else None
    if source is not None and source.resolve() == path.resolve():
        source = None
    return Finding(path, begun is not None, source)


def is_run_folder(path: Path) -> bool:
    """Whether a run made this folder, so that it may be overwritten when somebody asks for it."""
    return is_file(path / LOCK) or (is_file(path / STATUS) and is_file(path / CONFIG))


def source_of(resume: str) -> Path | None:
    """The run or checkpoint folder that `resume` names; None for `auto` and `never`.

    Raises:
        CheckpointError: it names nothing that a run can start from.
    """
    if resume in (AUTO, NEVER):
        return None
    path = Path(resume)
    if not exists(path):
        raise CheckpointError(f"resume={resume}: there is no such folder (nor is it `auto` or `never`)")
    if not any((path / name).exists() for name in (CHECKPOINTS, "manifest.json", "latest")):
        raise CheckpointError(f"resume={resume}: this is neither a run folder nor a checkpoint")
    return path


def refuse(message: str) -> NoReturn:
    """Say what is wrong with `run.dir`.

    Raises:
        ConfigError: always.
    """
    raise ConfigError([Problem("run.dir", message)])


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
        refuse(f"{path} holds a run, which resume=never does not continue: {advice}")
    saved = saved_config(path)
    changed = differences(saved, config)
    complete = status is not None and status.complete
    if changed:
        which = "a finished" if complete else "an unfinished"
        listed = "".join(f"\n    {line}" for line in changed)
        refuse(f"{path} holds {which} run of another configuration: {advice}. What differs:{listed}")
    if complete:
        refuse(f"{path} holds this run, and it is finished: {advice}")
    if source is not None and source.resolve() != path.resolve() and not _started_from(saved, source):
        refuse(f"{path} holds an unfinished run that did not start from {source}: resume=auto continues it")
    return saved


def _started_from(saved: Mapping[str, Any], source: Path) -> bool:
    begun_with = saved.get("resume")
    return isinstance(begun_with, str) and Path(begun_with).resolve() == source.resolve()


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
