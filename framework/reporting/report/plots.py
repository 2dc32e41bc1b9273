"""Figures as Plotly reads them, as plain dictionaries: nothing has to be imported to write a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework.reporting.report.blocks import Cell, Plot, Table
from framework.reporting.text import shorten_group

#: colours that differ for the colour-blind and stand out on white and on near-black (after Okabe and Ito)
COLORS = ("#2f7fc1", "#d9662b", "#1b9e77", "#b0589f", "#a8871a", "#5b8db8", "#c2504d", "#7d7d7d")
DASHES = ("solid", "dash", "dot", "dashdot")
#: the page's own colours, which differ between light and dark
INK, MUTED, GRID, SURFACE, ALARM = "@ink", "@muted", "@grid", "@surface", "@alarm"
#: points of a curve that are drawn; the table has all
MAX_POINTS = 2_000

Points = Sequence[tuple[float, float | None]]
#: where on the x axis, and what it is called
Mark = tuple[float, str]


def color(place: int) -> str:
    """The colour of the curve at `place`."""
    return COLORS[place % len(COLORS)]


def curve(name: str, points: Points, place: int, *, width: float = 2, **more: Any) -> dict[str, Any]:
    """A line through (x, y) points; a lone point is a marker, and what is not finite is a gap."""
    thinned = thin(points)
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(thinned) <= 30 else "lines",
        "name": name,
        "x": [x for x, _ in thinned],
        "y": [y for _, y in thinned],
        "line": {
            "color": color(place),
            "width": width,
            "dash": DASHES[place // len(COLORS) % len(DASHES)],
        },
        "marker": {"size": 5},
        **more,
    }


def band(points: Sequence[tuple[float, float, float]], place: int, name: str) -> list[dict[str, Any]]:
    """The area between the lower and upper ends of (x, lower, upper) points, as two traces."""
    shared = {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _, _ in points],
        "line": {"width": 0, "color": color(place)},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    red, green, blue = (int(color(place)[k : k + 2], 16) for k in (1, 3, 5))
    return [
        {**shared, "y": [low for _, low, _ in points]},
        {
            **shared,
            "y": [high for _, _, high in points],
            "fill": "tonexty",
            "fillcolor": f"rgba({red},{green},{blue},0.18)",
        },
    ]


def line_plot(
    title: str,
    alt: str,
    curves: Mapping[str, Points],
    *,
    x: str,
    y: str,
    mark: Mark | None = None,
    logarithmic: bool = False,
    from_zero: bool = False,
    wide: bool = False,
) -> Plot:
    """Several curves over one axis, with a vertical line at `mark` if there is one."""
    layout: dict[str, Any] = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    if logarithmic:
        layout["yaxis"]["type"] = "log"
    if from_zero:
        layout["yaxis"]["rangemode"] = "tozero"
    if mark is not None:
        layout |= vertical_line(*mark)
    traces = [curve(name, points, place) for place, (name, points) in enumerate(curves.items())]
    return Plot(title, alt, traces, layout, values_table(title, x, curves), wide)


def vertical_line(at: float, name: str, ink: str = MUTED) -> dict[str, Any]:
    """Layout entries of a dashed line at x = `at`, with its name on top."""
    ends = {"xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1}
    label = {"x": at, "y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom", "text": name}
    return {
        "shapes": [{"type": "line", **ends, "line": {"color": ink, "width": 1, "dash": "dash"}}],
        "annotations": [{**label, "showarrow": False, "font": {"size": 11, "color": ink}}],
    }


def values_table(title: str, x: str, curves: Mapping[str, Points]) -> Table:
    """A row per x, a column per curve."""
    columns: dict[float, dict[str, float | None]] = {}
    for name, points in curves.items():
        for at, value in points:
            columns.setdefault(at, {})[name] = value
    rows: list[list[Cell]] = [[at, *(columns[at].get(name) for name in curves)] for at in sorted(columns)]
    return Table(title, [x, *curves], rows)


def labels(names: Sequence[str], width: int) -> list[str]:
    """Names of groups for an axis: all without their columns where one is too long, and no two alike."""
    wide = any(len(name) > width for name in names)
    short = [shorten_group(name, min(width, len(name) - 1) if wide else width) for name in names]
    return [text if short.count(text) == 1 else f"{text} ({place})" for place, text in enumerate(short, 1)]


def thin(points: Points) -> Points:
    """At most `MAX_POINTS` of the points, evenly chosen, the first and the last among them."""
    count = len(points)
    if count <= MAX_POINTS:
        return points
    return [points[round(place * (count - 1) / (MAX_POINTS - 1))] for place in range(MAX_POINTS)]
