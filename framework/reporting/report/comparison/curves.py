"""How the arms went over time: the mean over seeds, between the smallest and the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.reporting.report.blocks import Block, Cell, Plot, Section, Table
from framework.reporting.report.comparison.read import ComparisonFiles
from framework.reporting.report.measures import is_number, spoken
from framework.reporting.report.plots import band, curve
from framework.reporting.report.read import RunFiles

#: step, mean, smallest, largest, number of runs
Row = tuple[int, float, float, float, int]


def section(comparison: ComparisonFiles) -> Section | None:
    """The selection metric and the loss on the selection split; None where the runs are gone."""
    files = {
        arm.name: [files for run in arm.runs if (files := run.files) is not None] for arm in comparison.arms
    }
    one = next((runs[0] for runs in files.values() if runs), None)
    if one is None:
        return None
    split = str(one.setting("select.split", "validation"))
    metrics = dict.fromkeys([comparison.metric, "accuracy", "loss"])
    blocks = [plot for metric in metrics if (plot := _plot(files, metric, split)) is not None]
    return Section("curves", "Learning curves", blocks) if blocks else None


def _plot(files: dict[str, list[RunFiles]], metric: str, split: str) -> Block | None:
    traces: list[dict[str, Any]] = []
    rows: list[list[Cell]] = []
    for place, (name, runs) in enumerate(files.items()):
        points = _over_seeds(runs, metric, split)
        if not points:
            continue
        traces += band([(step, low, high) for step, _, low, high, _ in points], place, name)
        traces.append(curve(name, [(step, mean) for step, mean, *_ in points], place, legendgroup=name))
        rows += [[name, *point] for point in points]
    if not traces:
        return None
    title = f"{spoken(metric).capitalize()} on {split}"
    alt = "The mean over seeds of each arm, in a band from the smallest to the largest."
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": spoken(metric)}}}
    table = Table(title, ["arm", "step", "mean", "smallest", "largest", "seeds"], rows)
    return Plot(title, alt, traces, layout, table)


def _over_seeds(runs: Sequence[RunFiles], metric: str, split: str) -> list[Row]:
    """Steps at which every run that got so far was evaluated; a run that stopped early drops out."""
    by_step: dict[int, list[float]] = {}
    for run in runs:
        for record in run.evaluations(split):
            if is_number(record.get(metric)):
                by_step.setdefault(int(record["step"]), []).append(float(record[metric]))
    return [
        (step, sum(values) / len(values), min(values), max(values), len(values))
        for step, values in sorted(by_step.items())
    ]
