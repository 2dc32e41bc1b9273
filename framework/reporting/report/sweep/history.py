"""How the search went, trial by trial."""

from __future__ import annotations

from typing import Any

from framework.reporting.report.blocks import Cell, Plot, Section, Table
from framework.reporting.report.measures import is_number, said, spoken
from framework.reporting.report.plots import INK, MUTED, color
from framework.reporting.report.sweep.read import Record, SweepFiles


def section(sweep: SweepFiles) -> Section | None:
    """Every trial as a point, and the best value so far; None without a value."""
    complete = sorted(sweep.complete, key=lambda trial: trial["number"])
    if not complete:
        return None
    pruned = [(trial, last) for trial in sweep.trials if (last := _last(trial)) is not None]
    so_far: list[float] = []
    for trial in complete:
        better = max if sweep.maximize else min
        so_far.append(better([*so_far[-1:], trial["value"]]))
    numbers = [trial["number"] for trial in complete]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "complete",
            "x": numbers,
            "y": [trial["value"] for trial in complete],
            "marker": {"size": 8, "color": color(0)},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": numbers,
            "y": so_far,
            "line": {"color": INK, "width": 1.5, "shape": "hv"},
        },
    ]
    if pruned:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "pruned, last value",
                "x": [trial["number"] for trial, _ in pruned],
                "y": [last for _, last in pruned],
                "marker": {"size": 7, "color": MUTED, "symbol": "x-thin-open"},
            }
        )
    best = dict(zip(numbers, so_far, strict=True))
    rows: list[list[Cell]] = [
        [trial["number"], trial["state"], trial.get("value"), _last(trial), best.get(trial["number"])]
        for trial in sweep.trials
    ]
    title = f"{spoken(sweep.metric).capitalize()} on {sweep.split} over trials"
    table = Table(title, ["trial", "state", spoken(sweep.metric), "value when pruned", "best so far"], rows)
    layout = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": spoken(sweep.metric)}}}
    last_gain = numbers[so_far.index(so_far[-1])]
    alt = f"The best value, {said(so_far[-1])}, was found by trial {last_gain} of {len(sweep.trials)}."
    return Section("history", "History", [Plot(title, alt, traces, layout, table, wide=True)])


def _last(trial: Record) -> float | None:
    if trial["state"] != "pruned":
        return None
    values = [value for value in trial.get("evaluations", {}).values() if is_number(value)]
    return values[-1] if values else None
