"""What a sweep holds: sweep.json, and the folders of its runs where they still are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framework.reporting.report.measures import is_number
from framework.reporting.report.study_file import read_study_file

SWEEP = "sweep.json"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class SweepFiles:
    """A sweep.

    Attributes:
        content: sweep.json.
    """

    dir: Path
    content: Record

    @property
    def metric(self) -> str:
        """What was optimized."""
        return str(self.content["metric"])

    @property
    def split(self) -> str:
        """Where it was measured."""
        return str(self.content["split"])

    @property
    def maximize(self) -> bool:
        """Whether more of it is better."""
        return bool(self.content.get("maximize"))

    @property
    def keys(self) -> list[str]:
        """The parameters that were searched."""
        return list(self.content.get("space", {}))

    @property
    def trials(self) -> Sequence[Record]:
        """All of them, in the order they were proposed."""
        trials: Sequence[Record] = self.content["trials"]
        return trials

    @cached_property
    def complete(self) -> list[Record]:
        """Those with a value, the best first."""
        known = [trial for trial in self.trials if is_number(trial.get("value"))]
        return sorted(known, key=lambda trial: trial["value"], reverse=self.maximize)

    @property
    def best(self) -> int | None:
        """The number of the chosen trial."""
        best = self.content.get("best")
        return None if best is None else int(best["number"])

    def is_log(self, key: str) -> bool:
        """Whether a parameter was searched by order of magnitude."""
        return key in self.content.get("log_scale", ())

    def link(self, trial: Record, page: str) -> str | None:
        """The address of a file of the trial's first run, from the folder of the sweep; None without it."""
        place = f"{trial.get('folder', '')}/{page}"
        return place if (self.dir / place).is_file() else None


def read_sweep(folder: Path) -> SweepFiles:
    """The sweep in `folder`.

    Raises:
        UserError: sweep.json is missing or is not one.
    """
    keys = frozenset({"trials", "metric", "split"})
    return SweepFiles(folder, read_study_file(folder / SWEEP, "sweep", keys))


def value_of(trial: Record, key: str) -> Any:
    """What a trial set a parameter to; None where it had none yet."""
    return trial.get("parameters", {}).get(key)
