"""A comparison on the disk: everything as JSON, a row per metric and arm as CSV, and pages to read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.files import replace_text, writing
from framework.reporting.report.read import REPORT
from framework.reporting.report.write import write_report
from framework.run_folder import environment
from framework.study.arms import Arm
from framework.study.comparison import Comparison, as_data
from framework.study.results import Result
from framework.study.tables import main_rows, markdown_table, other_rows

JSON = "comparison.json"
CSV = "comparison.csv"
MARKDOWN = "comparison.md"
NAMES = (JSON, CSV, MARKDOWN, REPORT)
VERSION = 1


def save(
    folder: Path,
    comparison: Comparison,
    *,
    summary: str,
    verdicts: Sequence[str],
    notes: Sequence[str],
    provenance: Mapping[str, Any],
) -> None:
    """Write the four files.

    Args:
        folder: where.
        comparison: the numbers.
        summary: one sentence about all arms, or nothing.
        verdicts: the sentences about the arms.
        notes: the sentences about how the numbers came about.
        provenance: how the runs were made, e.g. command, seeds and budget.

    Raises:
        UserError: the folder cannot be written.
    """
    data = {
        "version": VERSION,
        **provenance,
        "environment": environment(),
        "split": comparison.split,
        "metric": comparison.metric,
        "metrics": {name: {"maximize": more} for name, more in comparison.maximize.items()},
        "paired": comparison.is_paired,
        "summary": summary,
        "verdicts": list(verdicts),
        "notes": list(notes),
        "arms": [_arm(arm, comparison.split) for arm in comparison.arms],
        "table": as_data(comparison),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
        replace_text(folder / JSON, f"{text}\n")
        replace_text(folder / CSV, _csv(as_data(comparison)))
        replace_text(folder / MARKDOWN, markdown(comparison, summary, verdicts, notes))
    write_report(folder)


def markdown(comparison: Comparison, summary: str, verdicts: Sequence[str], notes: Sequence[str]) -> str:
    """The page."""
    lines = [f"# {comparison.metric} on {comparison.split}", "", *([summary, ""] if summary else [])]
    lines += [*(f"* {line}" for line in verdicts), ""]
    lines += [markdown_table(*main_rows(comparison)), ""]
    if len(comparison.metrics) > 1:
        lines += [f"## Other metrics on {comparison.split}", "", markdown_table(*other_rows(comparison)), ""]
    lines += ["## How to read this", "", *(f"* {line}" for line in notes), ""]
    return "\n".join(lines)


def _arm(arm: Arm, split: str) -> dict[str, Any]:
    return {
        "name": arm.name,
        "overrides": list(arm.overrides),
        "recipe": arm.recipe or None,
        "chosen": arm.chosen,
        "tried": [
            {
                "name": tried.name,
                "overrides": list(tried.overrides),
                "selection_by_seed": {str(seed): value for seed, value in tried.by_seed.items()},
                "selection": tried.value,
            }
            for tried in arm.tried
        ],
        "missing": {str(seed): why for seed, why in arm.missing.items()},
        "runs": [_run(result, split) for _, result in sorted(arm.results.items())],
    }


def _run(result: Result, split: str) -> dict[str, Any]:
    record = result.final[split]
    return {
        "seed": result.seed,
        "folder": str(result.folder),
        "command": list(result.command),
        "selected_step": result.selected_step,
        "selection": result.selection,
        "metrics": {name: value for name, value in record.items() if result.value(name, split) is not None},
        "worst_group": record.get("worst_group"),
        "groups": record.get("groups", []),
        "costs": dict(result.costs),
    }


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    headings = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, headings, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def finite(value: Any) -> Any:
    """JSON has no word for a number that is none: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
