"""Each group under each arm, on average over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.reporting.report.blocks import Cell, Plot, Section, Table
from framework.reporting.report.comparison.read import ComparedArm, ComparisonFiles
from framework.reporting.report.measures import is_number
from framework.reporting.report.plots import color, labels

#: groups that are drawn; the table has all
_MAX_DRAWN = 30
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")


def section(comparison: ComparisonFiles) -> Section | None:
    """A row of points per group; None without groups."""
    measure = _measure(comparison)
    if measure is None:
        return None
    means = {arm.name: _means(arm, measure) for arm in comparison.arms}
    names = list(dict.fromkeys(group for by_group in means.values() for group in by_group))
    if len(names) < 2:
        return None
    base = comparison.arms[0].name
    drawn = sorted(names, key=lambda name: _order(means[base].get(name), measure))[:_MAX_DRAWN][::-1]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": arm,
            "x": [by_group.get(name) for name in drawn],
            "y": labels(drawn, 24),
            "marker": {"size": 9, "color": color(place), "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
        }
        for place, (arm, by_group) in enumerate(means.items())
    ]
    layout = {
        "xaxis": {"title": {"text": f"{measure}, mean over seeds"}},
        "yaxis": {"type": "category"},
        "hovermode": "closest",
    }
    left_out = f" The {len(drawn)} worst of {len(names)} groups are drawn." if len(drawn) < len(names) else ""
    alt = f"Groups from the worst to the best under {base}.{left_out}"
    rows: list[list[Cell]] = [[name, *(by_group.get(name) for by_group in means.values())] for name in names]
    title = f"{measure.capitalize()} per group on {comparison.split}"
    plot = Plot(title, alt, traces, layout, Table(title, ["group", *means], rows), wide=True)
    return Section("groups", "Groups", [plot])


def _measure(comparison: ComparisonFiles) -> str | None:
    entries = [
        group for arm in comparison.arms for run in arm.runs for group in run.content.get("groups", ())
    ]
    return next((name for name in ("accuracy", "loss") if any(name in group for group in entries)), None)


def _means(arm: ComparedArm, measure: str) -> Mapping[str, float]:
    values: dict[str, list[float]] = {}
    for run in arm.runs:
        for group in run.content.get("groups", ()):
            if is_number(group.get(measure)):
                values.setdefault(str(group["name"]), []).append(float(group[measure]))
    return {name: sum(found) / len(found) for name, found in values.items()}


def _order(value: float | None, measure: str) -> float:
    if value is None:
        return float("inf")
    return value if measure == "accuracy" else -value
