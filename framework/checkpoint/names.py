"""What the folders and marks among a run's checkpoints are called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

STEP = re.compile(r"step-(\d{8,})")
#: `tmp`: half written or half deleted; `old`: complete, being replaced by a newer one of the same step
ASIDE = re.compile(r"(step-\d{8,})\.(tmp|old)-(\d+)")
STALE_MARK = re.compile(r"(?:latest|best)\.tmp-\d+")

Mark = Literal["latest", "best"]
LATEST: Mark = "latest"
BEST: Mark = "best"


def name_of(step: int) -> str:
    """The folder of the checkpoint of `step`."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step of a folder under its good name or aside."""
    return int(path.name.split(".")[0].removeprefix("step-"))


def marked(folder: Path, mark: Mark) -> int | None:
    """The step that a mark in `folder` names; None when there is no such mark or it is damaged."""
    try:
        text = (folder / mark).read_text()
    except (OSError, ValueError):
        return None
    match = STEP.fullmatch(text.strip())
    return int(match[1]) if match else None


def candidates(folder: Path) -> list[Path]:
    """Checkpoints under a good name, and those that a kill left aside in the middle of being replaced."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
    found = []
    for path in paths:
        aside = ASIDE.fullmatch(path.name)
        if STEP.fullmatch(path.name) or (aside and aside[2] == "old"):
            found.append(path)
    return found
