"""Which parameters mattered, and where their good values are."""

from __future__ import annotations

import math
from typing import Any

from framework.reporting.report.blocks import Block, Cell, Plot, Section, Table, Text
from framework.reporting.report.measures import is_number, said, spoken
from framework.reporting.report.plots import GRID, INK, MUTED, color
from framework.reporting.report.sweep.read import SweepFiles, value_of
from framework.reporting.text import shorten

#: lines that are drawn, the best ones; the table has all
_MAX_LINES = 200
#: from the worst fifth of the trials to the best one; readable on white and on near-black
_FIFTHS = ("#8a8f98", "#7d93b2", "#5b8db8", "#2f7fc1", "#d9662b")


def section(sweep: SweepFiles) -> Section | None:
    """Importances, parallel coordinates, and a plot per parameter; None without a complete trial."""
    if not sweep.complete:
        return None
    blocks: list[Block] = [_coordinates(sweep)] if len(sweep.keys) > 1 else []
    blocks.append(_importances(sweep))
    blocks += [_slice(sweep, key) for key in sweep.keys]
    return Section("parameters", "Parameters", blocks)


def _importances(sweep: SweepFiles) -> Block:
    shares = {key: share for key, share in sweep.content.get("importances", {}).items() if is_number(share)}
    if not shares:
        return Text("There are too few trials, or they are too much alike, to say which parameter mattered.")
    names = list(shares)[::-1]  # Plotly draws the first one at the bottom
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [shares[name] for name in names],
        "y": [shorten(name, 28) for name in names],
        "marker": {"color": color(0)},
    }
    layout = {"xaxis": {"title": {"text": "share"}, "rangemode": "tozero"}, "yaxis": {"type": "category"}}
    title = "Importance of parameters"
    alt = (
        "How much of what sets good trials apart goes back to each parameter (PED-ANOVA, arXiv 2304.10255): "
        + ", ".join(f"{name} {said(share)}" for name, share in shares.items())
        + "."
    )
    rows: list[list[Cell]] = [[name, share] for name, share in shares.items()]
    return Plot(title, alt, [trace], layout, Table(title, ["parameter", "share"], rows))


def _coordinates(sweep: SweepFiles) -> Plot:
    """A vertical axis per parameter and one for the metric; a line per trial, the best ones on top."""
    keys = sweep.keys
    axes = [_Axis(key, [value_of(t, key) for t in sweep.complete], sweep.is_log(key)) for key in keys]
    axes.append(_Axis(spoken(sweep.metric), [trial["value"] for trial in sweep.complete], log=False))
    drawn = sweep.complete[:_MAX_LINES]
    count = len(sweep.complete)
    places = list(range(len(axes)))
    traces: list[dict[str, Any]] = []
    for rank in range(len(drawn) - 1, -1, -1):
        trial = drawn[rank]
        values = [*(value_of(trial, key) for key in keys), trial["value"]]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"trial {trial['number']}",
                "x": places,
                "y": [axis.place(value) for axis, value in zip(axes, values, strict=True)],
                "text": [f"{axis.name}: {_shown(v)}" for axis, v in zip(axes, values, strict=True)],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                "line": {
                    "color": INK if rank == 0 else _FIFTHS[_fifth(rank, count)],
                    "width": 3 if rank == 0 else 1.2,
                },
                "marker": {"size": 5 if rank == 0 else 3},
                "opacity": 1 if rank == 0 else 0.75,
            }
        )
    layout = {
        "xaxis": {
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [shorten(axis.name, 22) for axis in axes],
            "range": [-0.3, len(axes) - 0.7],
            "showgrid": True,
            "gridcolor": GRID,
            "gridwidth": 2,
            "zeroline": False,
        },
        "yaxis": {"visible": False, "range": [-0.1, 1.1]},
        "hovermode": "closest",
        "showlegend": False,
        "annotations": [
            {
                "x": place, "y": y, "text": text, "showarrow": False,
                "yanchor": "top" if y < 0 else "bottom", "font": {"size": 11, "color": MUTED},
            }
            for place, axis in enumerate(axes)
            for y, text in ((-0.03, axis.low), (1.03, axis.high))
        ],
    }  # fmt: skip
    title = "All trials, parameter by parameter"
    alt = (
        "A line per complete trial, from its parameters to its value; the thick one is the best, and the best"
        " fifth of the others is orange."
    )
    rows: list[list[Cell]] = [
        [t["number"], *(value_of(t, key) for key in keys), t["value"]] for t in sweep.complete
    ]
    return Plot(
        title, alt, traces, layout, Table(title, ["trial", *keys, spoken(sweep.metric)], rows), wide=True
    )


class _Axis:
    """Values on a line from 0 to 1: numbers to scale, anything else in the order of first sight."""

    def __init__(self, name: str, values: list[Any], log: bool) -> None:
        self.name = name
        numbers = [_number(value) for value in values]
        self._numeric = all(number is not None for number in numbers)
        self._log = log and self._numeric
        self._names = list(dict.fromkeys(map(str, values)))
        known = [self._scaled(number) for number in numbers if number is not None] if self._numeric else []
        self._low, self._high = (min(known), max(known)) if known else (0.0, float(len(self._names) - 1))
        ends = sorted(float(number) for number in numbers if number is not None) if self._numeric else []
        self.low, self.high = (said(ends[0]), said(ends[-1])) if ends else (self._names[0], self._names[-1])

    def place(self, value: Any) -> float:
        number = _number(value)
        at = self._scaled(number) if self._numeric and number is not None else self._names.index(str(value))
        return 0.5 if self._high == self._low else (at - self._low) / (self._high - self._low)

    def _scaled(self, number: float) -> float:
        return math.log(number) if self._log else number


def _slice(sweep: SweepFiles, key: str) -> Plot:
    """The value of every complete trial over one parameter."""
    values = [value_of(trial, key) for trial in sweep.complete]
    numeric = all(_number(value) is not None for value in values)
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": "trial",
        "x": [_number(value) if numeric else str(value) for value in values],
        "y": [trial["value"] for trial in sweep.complete],
        "text": [f"trial {trial['number']}" for trial in sweep.complete],
        "marker": {
            "size": [11 if trial["number"] == sweep.best else 7 for trial in sweep.complete],
            "color": [INK if trial["number"] == sweep.best else color(0) for trial in sweep.complete],
            "opacity": 0.8,
        },
    }
    kind = "log" if sweep.is_log(key) and numeric else "linear" if numeric else "category"
    layout = {
        "xaxis": {"title": {"text": key}, "type": kind, "exponentformat": "e"},
        "yaxis": {"title": {"text": spoken(sweep.metric)}},
        "hovermode": "closest",
        "showlegend": False,
    }
    best = sweep.complete[0]
    alt = f"Each point is a trial; the best one has {key} {_shown(value_of(best, key))}."
    rows: list[list[Cell]] = [[t["number"], value_of(t, key), t["value"]] for t in sweep.complete]
    return Plot(key, alt, [trace], layout, Table(key, ["trial", key, spoken(sweep.metric)], rows))


def _fifth(rank: int, count: int) -> int:
    return len(_FIFTHS) - 1 - rank * len(_FIFTHS) // max(count, 1)


def _number(value: Any) -> float | None:
    """Choices are texts, of numbers or not."""
    if is_number(value):
        return float(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    return said(value) if is_number(value) else str(value)
