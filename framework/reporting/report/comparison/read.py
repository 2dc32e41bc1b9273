"""What a comparison holds: comparison.json, and the folders of its runs where they still are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framework.reporting.report.measures import is_number
from framework.reporting.report.read import RunFiles, read_run
from framework.reporting.report.study_file import read_study_file
from framework.run_folder.metrics import METRICS

COMPARISON = "comparison.json"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class ComparedRun:
    """A run of an arm.

    Attributes:
        content: its entry in comparison.json.
        base: the folder of the comparison.
    """

    content: Record
    base: Path

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.content["seed"])

    @property
    def folder(self) -> Path | None:
        """Where the run is now: as written, else beside the comparison; None if it is gone."""
        written = Path(str(self.content.get("folder", "")))
        places = (written, *(self.base / Path(*written.parts[k:]) for k in range(len(written.parts))))
        return next((place for place in places if (place / METRICS).is_file()), None)

    @property
    def files(self) -> RunFiles | None:
        """Its folder, read."""
        return None if self.folder is None else read_run(self.folder)

    def link(self, page: str) -> str | None:
        """The address of a file of the run, from the folder of the comparison; None without that file."""
        if self.folder is None or not (self.folder / page).is_file():
            return None
        return Path(os.path.relpath(self.folder / page, self.base)).as_posix()

    def value(self, metric: str) -> float | None:
        """A metric on the compared split, or a cost."""
        # The evaluation that gave the metrics has `seconds` of its own, which are not the run's.
        costs = self.content.get("costs", {})
        value = costs[metric] if metric in costs else self.content.get("metrics", {}).get(metric)
        return float(value) if is_number(value) else None


@dataclass(frozen=True)
class ComparedArm:
    """One side of the comparison, with its runs in the order of their seeds."""

    name: str
    runs: Sequence[ComparedRun]
    missing: Mapping[str, str]

    def values(self, metric: str) -> dict[int, float]:
        """Seed -> value, of the runs that have one."""
        return {run.seed: value for run in self.runs if (value := run.value(metric)) is not None}


@dataclass(frozen=True)
class ComparisonFiles:
    """A comparison.

    Attributes:
        content: comparison.json.
    """

    dir: Path
    content: Record

    @cached_property
    def arms(self) -> list[ComparedArm]:
        """In the order given; the others are compared with the first."""
        return [
            ComparedArm(
                str(arm["name"]),
                [ComparedRun(run, self.dir) for run in arm.get("runs", ())],
                arm.get("missing", {}),
            )
            for arm in self.content["arms"]
        ]

    @property
    def metric(self) -> str:
        """The one that checkpoints were selected by."""
        return str(self.content["metric"])

    @property
    def split(self) -> str:
        """Where the metrics are measured."""
        return str(self.content["split"])

    @property
    def metrics(self) -> list[str]:
        """All in the table, `metric` first, costs last."""
        return list(self.content.get("metrics", {}))

    def rows(self, metric: str) -> dict[str, Record]:
        """Arm -> its row of the table for `metric`."""
        return {row["arm"]: row for row in self.content.get("table", ()) if row["metric"] == metric}


def read_comparison(folder: Path) -> ComparisonFiles:
    """The comparison in `folder`.

    Raises:
        UserError: comparison.json is missing or is not one.
    """
    keys = frozenset({"arms", "metric", "split"})
    return ComparisonFiles(folder, read_study_file(folder / COMPARISON, "comparison", keys))
