"""The tables of docs/studies.md as they are written, and the same arms run again with what they chose."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.__main__ import main
from framework.study.grid import expand
from framework.study.named_arms import read_arms

_PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
_OPTIONS = ("arms", "seeds", "tune_seeds", "jobs")


@dataclass(frozen=True)
class Row:
    """An arm of a table.

    Attributes:
        arm: its name.
        content: as a file of arms has it, with the chosen setting and nothing to tune.
        mean: over seeds, a share.
        difference: to the first arm.
        wins: seeds in which it is ahead of the first arm.
    """

    arm: str
    content: dict[str, Any]
    mean: float
    difference: float
    wins: int


def tuned() -> list[str]:
    """The run files of the tables whose arms had options of their own to choose from, on bundled data."""
    command = r"^    python -m framework compare conf=((?!study/compas)\S+) arms=\S+_tuned "
    return re.findall(command, _PAGE.read_text(encoding="utf-8"), re.M)


def recorded(conf: str) -> dict[str, Row]:
    """The rows of the table below the command that compares on `conf`."""
    text = _PAGE.read_text(encoding="utf-8")
    below = text.partition(f"    python -m framework compare conf={conf} ")[2]
    command, _, below = below.partition("\n")
    words = dict(word.split("=", 1) for word in shlex.split(command))
    tuned = [f"{key}={value}" for key, value in words.items() if key not in _OPTIONS]
    grid = expand(tuned, _OPTIONS, read_arms(words["arms"]))
    arms = {arm.name: arm for arm in grid.arms}
    rows = {}
    lines = re.findall(r"^\|.*\|$", below.partition("\n#")[0], re.M)
    for line in lines[2:]:
        name, chosen, mean, difference, _, _, counts = (cell.strip() for cell in line.strip("|").split("|"))
        candidate = next(each for each in arms[name].candidates if each.name == chosen)
        content: dict[str, Any] = {"overrides": [*arms[name].overrides, *candidate.overrides]}
        if arms[name].recipe:
            content["recipe"] = arms[name].recipe
        wins = int(counts.partition(":")[0] or 0)
        rows[name] = Row(name, content, float(mean.split()[0]), float(difference or 0), wins)
    return rows


def again(folder: Path, conf: str, rows: Collection[Row]) -> dict[str, Any]:
    """Run the arms on the ten seeds of the tables; the new rows of the selection metric, by arm."""
    file = folder / "arms.yaml"
    file.write_text(yaml.safe_dump({row.arm: row.content for row in rows}, sort_keys=False))
    words = [f"conf={conf}", f"arms={file}", "seeds=10", "jobs=2", f"out={folder / 'study'}"]
    assert main(["compare", *words]) == 0
    content = json.loads((folder / "study" / "comparison.json").read_text())
    return {row["arm"]: row for row in content["table"] if row["metric"] == content["metric"]}
