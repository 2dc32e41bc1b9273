"""Means, paired differences with intervals and p-values, and every seed as a point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.reporting.report.blocks import Block, Cell, Plot, Section, Table
from framework.reporting.report.comparison.read import ComparisonFiles
from framework.reporting.report.measures import is_number, said, spoken
from framework.reporting.report.plots import INK, MUTED, color, vertical_line
from framework.reporting.text import shorten

#: names of columns, and the key of a row in comparison.json
_TESTED = {
    "difference to the first": "difference_mean",
    "from": "difference_low",
    "to": "difference_high",
    "p (Holm)": "t_p_holm",
    "Wilcoxon p (Holm)": "wilcoxon_p_holm",
    "wins": "wins",
    "ties": "ties",
    "losses": "losses",
    "seeds needed": "seeds_needed",
}
#: so many names stand side by side under a plot
_UPRIGHT = 4


def section(comparison: ComparisonFiles) -> Section | None:
    """The metric that checkpoints were selected by."""
    blocks: list[Block] = [_strips(comparison, comparison.metric)]
    differences = _differences(comparison, comparison.metric)
    blocks += [differences] if differences is not None else []
    blocks.append(_table(comparison, comparison.metric))
    return Section("result", spoken(comparison.metric).capitalize(), blocks)


def other_metrics(comparison: ComparisonFiles) -> Section | None:
    """Everything else, costs included; the verdict does not rest on it."""
    others = [metric for metric in comparison.metrics if metric != comparison.metric]
    if not others:
        return None
    plotted = [metric for metric in others if not metric.endswith("_bytes") and metric != "runs"]
    plots: list[Block] = [_strips(comparison, metric) for metric in plotted]
    tables: list[Block] = [_table(comparison, metric) for metric in others]
    return Section("others", "Other metrics and cost", [*plots, *tables])


def _strips(comparison: ComparisonFiles, metric: str) -> Plot:
    """A column of points per arm, the runs of one seed joined by a line, beside each mean."""
    arms = comparison.arms
    places = list(range(len(arms)))
    values = [arm.values(metric) for arm in arms]
    seeds = sorted({seed for by_seed in values for seed in by_seed})
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"seed {seed}",
            "x": places,
            "y": [by_seed.get(seed) for by_seed in values],
            "line": {"color": MUTED, "width": 1},
            "marker": {"size": 6, "color": color(0), "opacity": 0.75},
            "opacity": 0.8,
            "connectgaps": False,
        }
        for seed in seeds
    ]
    rows = comparison.rows(metric)
    means = [rows.get(arm.name, {}).get("mean") for arm in arms]
    spreads = [rows.get(arm.name, {}).get("std") for arm in arms]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean, one standard deviation",
            "x": [place + 0.12 for place in places],
            "y": means,
            "error_y": {"type": "data", "array": [s or 0 for s in spreads], "color": INK, "thickness": 1.5},
            "marker": {"symbol": "diamond", "size": 9, "color": INK},
        }
    )
    layout = {
        "xaxis": {
            "tickmode": "array",
            "tickvals": places,
            "ticktext": [shorten(arm.name, 24) for arm in arms],
            # Left to itself Plotly leaves labels out where many do not fit.
            "tickangle": -90 if len(arms) > _UPRIGHT else 0,
            "automargin": True,
            "range": [-0.5, len(arms) - 0.5],
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {"title": {"text": spoken(metric)}},
        "hovermode": "closest",
        "showlegend": False,
    }
    described = ", ".join(
        f"{arm.name} {said(mean)}{f' ± {said(std)}' if is_number(std) else ''}"
        for arm, mean, std in zip(arms, means, spreads, strict=True)
    )
    alt = f"Mean over seeds: {described}. Lines join the runs of one seed."
    table = Table(
        f"{spoken(metric)} per seed",
        ["seed", *(arm.name for arm in arms)],
        [[seed, *(by_seed.get(seed) for by_seed in values)] for seed in seeds],
    )
    return Plot(f"{spoken(metric).capitalize()} per arm and seed", alt, traces, layout, table)


def _differences(comparison: ComparisonFiles, metric: str) -> Plot | None:
    """The difference of each arm to the first: a point per pair, and the mean with its interval."""
    base, *others = comparison.arms
    rows = comparison.rows(metric)
    tested = [arm for arm in others if is_number(rows.get(arm.name, {}).get("difference_mean"))]
    if not tested:
        return None
    reference = base.values(metric)
    paired = {
        arm.name: {s: v - reference[s] for s, v in arm.values(metric).items() if s in reference}
        for arm in tested
    }
    names = [shorten(arm.name, 24) for arm in tested]
    places = list(range(len(tested)))[::-1]  # Plotly draws the first one at the bottom
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "one seed",
            "x": [d for arm in tested for d in paired[arm.name].values()],
            "y": [place + 0.14 for arm, place in zip(tested, places, strict=True) for _ in paired[arm.name]],
            "marker": {"size": 6, "color": color(0), "opacity": 0.75},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean, 95 % interval",
            "x": [rows[arm.name]["difference_mean"] for arm in tested],
            "y": places,
            "error_x": _interval([rows[arm.name] for arm in tested]),
            "marker": {"symbol": "diamond", "size": 10, "color": INK},
        },
    ]
    layout = {
        "xaxis": {"title": {"text": f"difference to {base.name}"}, "zeroline": False},
        "yaxis": {
            "tickmode": "array",
            "tickvals": places,
            "ticktext": names,
            "range": [-0.6, len(tested) - 0.4],
            "showgrid": False,
            "zeroline": False,
        },
        "hovermode": "closest",
        "showlegend": False,
    } | vertical_line(0, "", INK)
    parts = [f"{arm.name} {said(rows[arm.name]['difference_mean'])}" for arm in tested]
    alt = (
        f"Mean difference to {base.name}: {', '.join(parts)}. An interval that crosses the dashed line is"
        " compatible with no difference."
    )
    seeds = sorted({seed for by_seed in paired.values() for seed in by_seed})
    table = Table(
        f"{spoken(metric)} differences to {base.name}",
        ["seed", *(arm.name for arm in tested)],
        [[seed, *(paired[arm.name].get(seed) for arm in tested)] for seed in seeds],
    )
    return Plot(f"Difference to {base.name}", alt, traces, layout, table)


def _interval(rows: list[Any]) -> dict[str, Any]:
    ends = [
        (row["difference_high"] - row["difference_mean"], row["difference_mean"] - row["difference_low"])
        if is_number(row.get("difference_low")) and is_number(row.get("difference_high"))
        else (0, 0)
        for row in rows
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high for high, _ in ends],
        "arrayminus": [low for _, low in ends],
        "color": INK,
        "thickness": 1.5,
    }


def _table(comparison: ComparisonFiles, metric: str) -> Table:
    by_arm = comparison.rows(metric)
    caption = f"{spoken(metric)} on {comparison.split}"
    if metric.endswith("_bytes"):
        caption = spoken(metric).replace("bytes", "in MiB")
        by_arm = {name: _in_mebibytes(row) for name, row in by_arm.items()}
    elif metric.endswith("seconds"):
        caption = spoken(metric)
    better = "more is better" if next(iter(by_arm.values()), {}).get("better") == "more" else "less is better"
    used = {
        label: key
        for label, key in _TESTED.items()
        if any(row.get(key) is not None for row in by_arm.values())
    }
    rows: list[list[Cell]] = []
    for arm in comparison.arms:
        row = by_arm.get(arm.name, {})
        rows.append(
            [
                arm.name,
                row.get("num_seeds"),
                row.get("mean"),
                row.get("std"),
                *(row.get(key) for key in used.values()),
            ]
        )
    columns = ["arm", "seeds", "mean", "standard deviation", *used]
    return Table(f"{caption} ({better})", columns, rows)


def _in_mebibytes(row: Mapping[str, Any]) -> dict[str, Any]:
    amounts = ("mean", "std", "difference_mean", "difference_low", "difference_high")
    return {
        key: value / 2**20 if key in amounts and is_number(value) else value for key, value in row.items()
    }
