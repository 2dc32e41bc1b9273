"""The folder of a study: one process at a time, and what was asked for before."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework.errors import ConfigError, UserError
from framework.files import replace_file, to_json, writing
from framework.study.plan import Plan

STUDY = "study.json"
_LOCK = ".study.lock"


@contextmanager
def study_folder(plan: Plan) -> Iterator[None]:
    """Inside, the folder is made, is this process's alone, and says what is compared in it.

    Raises:
        ConfigError: it holds another study, is in use or is no study's folder.
        UserError: it cannot be written.
    """
    with opened(plan.folder, _content(plan), lambda saved: _check(plan.folder, saved, plan)):
        yield


@contextmanager
def opened(
    folder: Path,
    content: Mapping[str, Any],
    check: Callable[[Mapping[str, Any]], None],
    *,
    shared: bool = False,
    file: str = STUDY,
    kind: str = "study",
) -> Iterator[None]:
    """Inside, the folder is made and held, and `content` is in its study.json or what `file` says.

    Args:
        folder: of the study.
        content: what it will say of the study.
        check: is given what an earlier process wrote there, and refuses it if it is another study.
        shared: other processes may be in it too, if they ask for the same.
        file: the name of the file.
        kind: what messages call what the folder is for.

    Raises:
        ConfigError: it holds another study, is in use or is no study's folder.
        UserError: it cannot be written, or the file is damaged.
    """
    if folder.exists() and not (folder / file).exists() and (not folder.is_dir() or _holds(folder)):
        raise ConfigError(f"{folder} is not empty and not the folder of a {kind}: choose another one")
    saved = _read(folder / file, kind)
    if saved is not None:
        try:
            check(saved)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder / file} does not say what a {kind} is ({type(error).__name__}: {error}): put it"
                " back as it was written, or delete the folder"
            ) from error
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another process runs the {kind} in {folder}; wait for it or end it"
            raise ConfigError(message) from error
        with writing(folder / file):
            replace_file(folder / file, [to_json(dict(content))])
        yield
    finally:
        os.close(descriptor)


def _holds(folder: Path) -> bool:
    """Whether anything is in the folder but the lock of a process that is just about to begin a study."""
    return any(entry.name != _LOCK for entry in folder.iterdir())


def _content(plan: Plan) -> dict[str, Any]:
    return {
        "version": 1,
        **plan.identity(),
        "arms": {arm.name: plan.arm_words(arm) for arm in plan.grid.arms},
        "seeds": list(plan.seeds),
    }


def _read(path: Path, kind: str) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("version") != 1:
        raise UserError(f"{path} is not the file of a {kind}")
    return content


def _check(folder: Path, saved: Mapping[str, Any], plan: Plan) -> None:
    """More arms and seeds go on; anything else would mix two studies."""
    if "arms" not in saved:
        raise ConfigError(f"{folder} holds a sweep: choose another study=NAME or out=DIR")
    changed = [
        f"{key}: {_shown(saved.get(key))} there, {_shown(value)} now"
        for key, value in plan.identity().items()
        if saved.get(key) != value
    ]
    # Arms and seeds that are dropped after a look at them would make p-values too small.
    arms = {arm.name: plan.arm_words(arm) for arm in plan.grid.arms}
    dropped = [name for name, words in saved["arms"].items() if arms.get(name) != words]
    changed += [f"arm {name or 'run'} is there and not compared now" for name in dropped]
    changed += [f"seed {seed} is there and not used now" for seed in saved["seeds"] if seed not in plan.seeds]
    if list(arms)[:1] != list(saved["arms"])[:1] and not dropped:
        changed.append(f"the first arm: {next(iter(saved['arms']))} there, {next(iter(arms))} now")
    if changed:
        listed = "".join(f"\n    {line}" for line in changed)
        raise ConfigError(
            f"{folder} holds another study: choose another study=NAME or out=DIR, put the command back (arms"
            f" and seeds may be added), or delete the folder. What differs:{listed}"
        )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
