"""Every run with its numbers, and the way to its own report."""

from __future__ import annotations

from framework.reporting.report.blocks import Cell, Section, Table
from framework.reporting.report.comparison.read import ComparisonFiles
from framework.reporting.report.measures import spoken
from framework.reporting.report.read import REPORT


def section(comparison: ComparisonFiles) -> Section | None:
    """A row per run; those without a result are rows without numbers."""
    rows: list[list[Cell]] = []
    links: dict[int, str] = {}
    for arm in comparison.arms:
        for run in arm.runs:
            link = run.link(REPORT)
            if link is not None:
                links[len(rows)] = link
            rows.append(
                [
                    f"{arm.name}, seed {run.seed}",
                    run.content.get("selected_step"),
                    run.content.get("selection"),
                    *(run.value(metric) for metric in comparison.metrics),
                    str(run.content.get("worst_group") or ""),
                    str(run.content.get("folder") or ""),
                ]
            )
        for seed, reason in arm.missing.items():
            empty: list[Cell] = [None] * (2 + len(comparison.metrics))
            rows.append([f"{arm.name}, seed {seed}", *empty, f"no result: {reason}", ""])
    if not rows:
        return None
    columns = ["run", "selected step", "value it was selected by"]
    columns += [*map(spoken, comparison.metrics), "worst group", "folder"]
    return Section("runs", "Runs", [Table("Runs", columns, rows, links=links)])
