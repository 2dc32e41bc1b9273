"""Options that `compare`, `sweep` and `recipe` share: numbers, seeds, and where the study is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from framework.config.provenance import COMMAND_LINE
from framework.errors import Problem

_MAX_SEED = 2**32 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def place(given: Mapping[str, str], problems: list[Problem]) -> tuple[str | None, Path | None]:
    """`study=NAME` and `out=DIR`."""
    study, out = given.get("study"), given.get("out")
    if study is not None and not _NAME.fullmatch(study):
        problems.append(Problem("study", "must be letters, digits, . _ and -", COMMAND_LINE))
    if study is not None and out is not None:
        problems.append(Problem("out", "give study=NAME or out=DIR, not both", COMMAND_LINE))
    if out == "":
        problems.append(Problem("out", "needs a folder", COMMAND_LINE))
    return study, Path(out) if out else None


def is_dry(given: Mapping[str, str], problems: list[Problem]) -> bool:
    """`dry=true`."""
    dry = given.get("dry", "false")
    if dry not in ("true", "false"):
        problems.append(Problem("dry", f"must be true or false; got {dry}", COMMAND_LINE))
    return dry == "true"


def number(name: str, given: Mapping[str, str], problems: list[Problem]) -> int | None:
    """A whole number, None where it is not given or not one."""
    text = given.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        problems.append(Problem(name, f"must be a whole number, 1 or more; got {text}", COMMAND_LINE))
        return None
    return int(text)


def seeds(text: str, problems: list[Problem]) -> tuple[int, ...]:
    """`5` is 0 to 4, `[3,7]` are those; none, and a problem, for anything else."""
    if re.fullmatch(r"[1-9]\d{0,4}", text):
        return tuple(range(int(text)))
    inside = re.fullmatch(r"\[\s*(\d{1,10}(\s*,\s*\d{1,10})*)\s*\]", text)
    listed = tuple(int(word) for word in inside[1].split(",")) if inside else ()
    if not listed:
        message = f"must be how many, e.g. 5, or which, e.g. [3,7,11]; got {text}"
        problems.append(Problem("seeds", message, COMMAND_LINE))
    elif len(set(listed)) < len(listed) or max(listed) > _MAX_SEED:
        problems.append(Problem("seeds", f"must be different and at most {_MAX_SEED}", COMMAND_LINE))
    return listed
