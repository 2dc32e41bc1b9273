"""Runs for the studies: only through the command line and `metrics.jsonl`, as a user would make them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.__main__ import main

Scores = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Outcome:
    """What one run reports of its selected checkpoint."""

    selection: float
    final: Mapping[str, Mapping[str, Any]]


def run(folder: Path, conf: str, overrides: Iterable[str]) -> Outcome:
    """One run in a folder that is gone afterwards; `folder` must not exist."""
    torch.set_num_threads(1)  # these models are too small to share
    assert main([f"conf={conf}", "reporting=quiet", *overrides, f"run.dir={folder}"]) == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metric = _selection_metric(folder)
    chosen = [record[metric] for record in records if record.get("best")]
    shutil.rmtree(folder)
    return Outcome(chosen[-1], {record["split"]: record for record in records if record.get("final")})


def _selection_metric(folder: Path) -> str:
    import yaml

    rule = yaml.safe_load((folder / "config.yaml").read_text())["select"]
    return str(rule["metric"])


def best_of(folder: Path, conf: str, overrides: Sequence[str], grid: Sequence[Sequence[str]]) -> Outcome:
    """The run of the grid that is best on the validation split; of equals the first."""
    outcomes = [run(folder, conf, [*overrides, *choice]) for choice in grid]
    return max(outcomes, key=lambda outcome: outcome.selection)


def table(title: str, scores: Scores, against: str) -> str:
    """Mean, spread over seeds, and the paired comparison with the row `against`; scores are shares."""
    base = np.array(scores[against])
    lines = [
        f"{title} ({len(base)} seeds)",
        "",
        f"| | mean | std | against {against} | wins : losses | sign test p |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in scores.items():
        row = np.array(values)
        cells = [name, f"{100 * row.mean():.1f}", f"{100 * row.std(ddof=1):.1f}"]
        if name == against:
            cells += ["", "", ""]
        else:
            wins, losses = versus(values, scores[against])
            cells += [
                f"{100 * (row - base).mean():+.1f}",
                f"{wins} : {losses}",
                f"{sign_test(wins, losses):.2g}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versus(values: Sequence[float], base: Sequence[float]) -> tuple[int, int]:
    """Paired wins and losses; ties count for neither."""
    pairs = list(zip(values, base, strict=True))
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of a fair coin that gives so many wins and losses."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    return min(1.0, 2 * tail)
