"""How evenly the policy weighed the samples of a batch."""

from __future__ import annotations

from typing import Any

from framework.reporting.report.blocks import Block, Plot, Section
from framework.reporting.report.measures import is_number
from framework.reporting.report.plots import Points, band, curve, line_plot, values_table
from framework.reporting.report.read import RunFiles
from framework.reporting.text import number

_MAX_GROUPS = 12


def section(run: RunFiles) -> Section | None:
    """Effective sample size, largest weight, quantiles, and the median of each group."""
    blocks: list[Block] = [*_effective(run), *_largest(run), *_quantiles(run), *_group_medians(run)]
    return Section("weights", "Weights of the samples", blocks) if blocks else None


def _effective(run: RunFiles) -> list[Block]:
    points = _numbers(run, "effective_sample_size")
    if not points:
        return []
    values = [y for _, y in points if y is not None]
    size = run.setting("batch.size")
    of = f" of {size}" if isinstance(size, int) else ""
    alt = (
        f"How many equally weighted samples a batch{of} is worth:"
        f" between {min(values):.1f} and {max(values):.1f}."
    )
    return [
        line_plot(
            "Effective sample size",
            alt,
            {"effective sample size": points},
            x="step",
            y="samples",
            from_zero=True,
        )
    ]


def _largest(run: RunFiles) -> list[Block]:
    points = _numbers(run, "largest_weight")
    if not points:
        return []
    values = [y for _, y in points if y is not None]
    alt = (
        "On the policy's own scale, where equal weights are 1 over the size of the batch:"
        f" between {number(min(values))} and {number(max(values))}."
    )
    return [
        line_plot(
            "Largest weight",
            alt,
            {"largest weight": points},
            x="step",
            y="weight",
            from_zero=True,
        )
    ]


def _quantiles(run: RunFiles) -> list[Block]:
    records = [r for r in run.of("sample_weights") if isinstance(r.get("weights"), dict)]
    if not records:
        return []
    spread = {
        name: [(r["step"], r["weights"].get(name)) for r in records]
        for name in ("min", "p10", "median", "p90", "max")
    }
    traces: list[dict[str, Any]] = []
    for low, high in (("min", "max"), ("p10", "p90")):
        ends = [
            (step, bottom, top)
            for (step, bottom), (_, top) in zip(spread[low], spread[high], strict=True)
            if is_number(bottom) and is_number(top)
        ]
        traces += band(ends, 0, f"{low} to {high}")
    traces.append(curve("median", spread["median"], 0))
    last = records[-1]["weights"]
    alt = (
        "Times the weight that ERM gives; the dark band holds the middle 80 %, the light one all."
        f" In the last recorded batch from {number(last['min'])} to {number(last['max'])}."
    )
    title = "Spread of the weights"
    layout = {
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"title": {"text": "times ERM's"}, "rangemode": "tozero"},
    }
    return [Plot(title, alt, traces, layout, values_table(title, "step", spread))]


def _group_medians(run: RunFiles) -> list[Block]:
    records = [r for r in run.of("sample_weights") if r.get("groups")]
    curves: dict[str, list[tuple[float, float | None]]] = {}
    for record in records:
        for group in record["groups"]:
            curves.setdefault(group["name"], []).append((record["step"], group.get("median")))
    if not len(curves) >= 2:
        return []
    ranked = sorted(curves, key=lambda name: -(curves[name][-1][1] or 0.0))
    shown = {name: curves[name] for name in curves if name in ranked[:_MAX_GROUPS]}
    first = ranked[0]
    alt = (
        f"The group whose samples counted most when it was last seen: {first},"
        f" {number(curves[first][-1][1])} times ERM's weight."
    )
    return [line_plot("Median weight per group", alt, shown, x="step", y="times ERM's")]


def _numbers(run: RunFiles, key: str) -> Points:
    return [(r["step"], r[key]) for r in run.of("train") if is_number(r.get(key))]
