"""The folder of a study: one process at a time, and what was asked for before."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
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
    folder = plan.folder
    if folder.exists() and not (folder / STUDY).exists() and (not folder.is_dir() or any(folder.iterdir())):
        _refuse(f"{folder} is not empty and not the folder of a study: choose another one")
    saved = _read(folder / STUDY)
    _check(folder, saved, plan)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse(f"another process runs the study in {folder}; wait for it or end it")
        with writing(folder / STUDY):
            replace_file(folder / STUDY, [to_json(_content(plan))])
        yield
    finally:
        os.close(descriptor)


def _content(plan: Plan) -> dict[str, Any]:
    return {
        "version": 1,
        **plan.identity(),
        "arms": {arm.name: list(arm.overrides) for arm in plan.grid.arms},
        "seeds": list(plan.seeds),
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("version") != 1:
        raise UserError(f"{path} is not the file of a study")
    return content


def _check(folder: Path, saved: Mapping[str, Any] | None, plan: Plan) -> None:
    """More arms and seeds go on; anything else would mix two studies."""
    if saved is None:
        return
    changed = [
        f"{key}: {_shown(saved.get(key))} there, {_shown(value)} now"
        for key, value in plan.identity().items()
        if saved.get(key) != value
    ]
    # Arms and seeds that are dropped after a look at them would make p-values too small.
    arms = {arm.name: list(arm.overrides) for arm in plan.grid.arms}
    dropped = [name for name, overrides in saved["arms"].items() if arms.get(name) != overrides]
    changed += [f"arm {name or 'run'} is there and not compared now" for name in dropped]
    changed += [f"seed {seed} is there and not used now" for seed in saved["seeds"] if seed not in plan.seeds]
    if list(arms)[:1] != list(saved["arms"])[:1] and not dropped:
        changed.append(f"the first arm: {next(iter(saved['arms']))} there, {next(iter(arms))} now")
    if changed:
        listed = "".join(f"\n    {line}" for line in changed)
        _refuse(
            f"{folder} holds another study: choose another study=NAME or out=DIR, put the command back (arms"
            f" and seeds may be added), or delete the folder. What differs:{listed}"
        )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)


def _refuse(message: str) -> None:
    raise ConfigError(message)
