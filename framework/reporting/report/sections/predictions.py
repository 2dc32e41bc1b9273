"""Which classes are confused, and whether the model's confidence is earned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.reporting.report.blocks import Block, Cell, Plot, Section, Table
from framework.reporting.report.measures import Record, is_number, said
from framework.reporting.report.plots import MUTED, color
from framework.reporting.report.read import RunFiles
from framework.reporting.text import shorten


def section(run: RunFiles) -> Section | None:
    """Of the test split at the selected checkpoint, else of the last split measured there."""
    final = run.final()
    statistics = final.get("statistics") if final is not None else None
    if final is None or not isinstance(statistics, dict):
        return None
    blocks: list[Block] = []
    if "confusion" in statistics:
        blocks.append(_confusion(final, statistics["confusion"], run.facts.class_names))
    if "calibration" in statistics:
        blocks += _calibration(final, statistics["calibration"])
    return Section("predictions", "Predictions", blocks) if blocks else None


def _confusion(record: Record, counts: Sequence[Sequence[float]], class_names: Sequence[str]) -> Plot:
    size = len(counts)
    names = [str(name) for name in class_names] if len(class_names) == size else [str(k) for k in range(size)]
    shares = [[value / sum(row) if sum(row) else None for value in row] for row in counts]
    mistakes = [
        (counts[target][answer], target, answer)
        for target in range(size)
        for answer in range(size)
        if target != answer and counts[target][answer] > 0
    ]
    labels = [shorten(name, 16) for name in names]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": shares,
        # Places, not names: two names may be cut to the same label.
        "x": list(range(size)),
        "y": list(range(size)),
        "text": [[f"{int(value)}" if value else "" for value in row] for row in counts],
        "texttemplate": "%{text}" if size <= 20 else "",
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "colorscale": [[0, "@raised"], [1, color(0)]],
        "colorbar": {
            "title": {"text": "share of the class", "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    ticks = {"tickmode": "array", "tickvals": list(range(size)), "ticktext": labels} if size <= 40 else {}
    layout = {
        "xaxis": {"title": {"text": "predicted"}, "showgrid": False, **ticks},
        "yaxis": {"title": {"text": "target"}, "showgrid": False, "autorange": "reversed", **ticks},
        "hovermode": "closest",
    }
    alt = "No class was taken for another one."
    if mistakes:
        count, target, answer = max(mistakes)
        alt = (
            f"Most frequent mistake: {names[target]} taken for {names[answer]},"
            f" {int(count):,} of {int(sum(counts[target])):,}."
        )
    rows: list[list[Cell]] = [[names[k], *(int(value) for value in row)] for k, row in enumerate(counts)]
    title = f"Confusion on {record.get('split')}"
    table = Table(f"{title}: rows are targets, columns predictions", ["target", *names], rows)
    return Plot(title, alt, [trace], layout, table)


def _calibration(record: Record, bins: Sequence[Sequence[float]]) -> list[Block]:
    counts, confidences, hits = bins
    width = 1 / len(counts)
    rows: list[list[Cell]] = [
        [place * width, (place + 1) * width, int(n), c / n if n else None, h / n if n else None]
        for place, (n, c, h) in enumerate(zip(counts, confidences, hits, strict=True))
    ]
    used = [row for row in rows if row[2]]
    if not used:
        return []
    total = sum(counts)
    over = sum(confidences) / total - sum(hits) / total
    ece = record.get("ece")
    alt = (
        f"Mean confidence is {said(abs(over))} {'above' if over > 0 else 'below'} accuracy"
        f"{f', expected calibration error {said(ece)}' if is_number(ece) else ''}."
        " Points on the diagonal are calibrated, below it too sure; larger points have more samples."
    )
    largest = max(counts)
    sizes = [6 + 16 * (float(row[2] or 0) / largest) ** 0.5 for row in used]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": "calibrated", "x": [0, 1], "y": [0, 1],
            "line": {"color": MUTED, "width": 1, "dash": "dash"}, "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "accuracy",
            "x": [row[3] for row in used],
            "y": [row[4] for row in used],
            "text": [f"{row[2]} samples" for row in used],
            "line": {"color": color(0), "width": 1.5},
            "marker": {"size": sizes, "color": color(0)},
        },
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "confidence"}, "range": [0, 1.04]},
        "yaxis": {"title": {"text": "accuracy"}, "range": [0, 1.04]},
        "hovermode": "closest",
        "showlegend": False,
    }
    title = f"Calibration on {record.get('split')}"
    columns = ["confidence from", "to", "samples", "mean confidence", "accuracy"]
    return [Plot(title, alt, traces, layout, Table(title, columns, rows))]
