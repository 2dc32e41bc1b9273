"""Every group with its counts, measures and interval, at the selected checkpoint."""

from __future__ import annotations

from typing import Any

from framework.reporting.lines import judged_by
from framework.reporting.report.blocks import Block, Cell, Facts, Plot, Section, Table, Text
from framework.reporting.report.measures import (
    AVERAGES,
    Record,
    interval,
    is_number,
    larger_is_better,
)
from framework.reporting.report.plots import ALARM, INK, MUTED, color, labels, vertical_line
from framework.reporting.report.read import RunFiles
from framework.reporting.text import number

_NOT_MEASURES = frozenset({"name", "count", "train_count"})
#: groups that are drawn; the table has all
_MAX_DRAWN = 40


def section(run: RunFiles) -> Section | None:
    """A table per split that was measured at the selected checkpoint, else of the newest evaluation."""
    records = list(run.finals) or [record for record in [run.judged] if record is not None]
    records = sorted(records, key=lambda record: record.get("split") != "test")
    blocks: list[Block] = []
    for record in records:
        if not record.get("groups"):
            continue
        table = _table(record)
        blocks += [_plot(record, table) or table, *_others(record)]
    if not blocks:
        return None
    note = Text(
        "Intervals are 95 % score intervals (Wilson) for the share of correct answers in a group; they tell"
        " how much another sample of the same size could differ, not how much another seed of training would."
    )
    return Section("groups", "Groups", [note, *blocks] if _has_intervals(records) else blocks)


def _has_intervals(records: list[Record]) -> bool:
    return any(judged_by(record) == "accuracy" for record in records)


def _table(record: Record) -> Table:
    measure = judged_by(record)
    names = [name for name in record["groups"][0] if name not in _NOT_MEASURES]
    names.sort(key=lambda name: (name != measure, name))
    bounded = measure == "accuracy"
    bounds = ["accuracy from", "accuracy to"] if bounded else []
    rows: list[list[Cell]] = []
    marked = set()
    for group in record["groups"]:
        if group["name"] == record.get("worst_group"):
            marked.add(len(rows))
        low_high = interval(group, measure) if measure is not None else None
        rows.append(
            [
                group["name"],
                group.get("train_count"),
                group.get("count"),
                *(group.get(name) for name in names),
                *((low_high or (None, None)) if bounded else ()),
            ]
        )
    for prefix, label in AVERAGES.items():
        if any(f"{prefix}{name}" in record for name in names):
            total = record.get("num_samples") if prefix == "" else None
            values = [record.get(f"{prefix}{name}") for name in names]
            rows.append([label, None, total, *values, *([None, None] if bounded else [])])
    columns = ["group", "training samples", "samples", *names, *bounds]
    return Table(_title(record, "groups"), columns, rows, frozenset(marked))


def _others(record: Record) -> list[Block]:
    """The task's own metrics, those that belong to no group."""
    measures = {name for name in record["groups"][0] if name not in _NOT_MEASURES}
    tabled = {f"{prefix}{name}" for prefix in AVERAGES for name in measures}
    rows = [
        (name.replace("_", " "), number(value))
        for name, value in record.items()
        if isinstance(value, float) and name not in tabled and not name.endswith("seconds")
    ]
    return [Facts(rows)] if rows else []


def _plot(record: Record, table: Table) -> Plot | None:
    measure = judged_by(record)
    if measure is None or len(record["groups"]) < 2:
        return None
    groups = [group for group in record["groups"] if is_number(group.get(measure))]
    better = larger_is_better(measure)
    groups.sort(key=lambda group: group[measure], reverse=not better)
    drawn = groups[:_MAX_DRAWN]
    if not drawn:
        return None
    drawn.reverse()  # Plotly draws the first one at the bottom
    values = [group[measure] for group in drawn]
    bounds = [interval(group, measure) for group in drawn]
    worst = record.get("worst_group")
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": measure,
        "x": values,
        "y": _labels(drawn),
        "marker": {"size": 9, "color": [ALARM if g["name"] == worst else color(0) for g in drawn]},
    }
    if all(bound is not None for bound in bounds):
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [b[1] - v for b, v in zip(bounds, values, strict=True) if b],
            "arrayminus": [v - b[0] for b, v in zip(bounds, values, strict=True) if b],
            "color": MUTED,
            "thickness": 1.4,
        }
    average = record.get(measure)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": measure}, "rangemode": "tozero"},
        "yaxis": {"type": "category", "showgrid": False},
        "hovermode": "closest",
        "showlegend": False,
    }
    if is_number(average):
        layout |= vertical_line(average, f"overall {number(average)}", INK)
    left_out = (
        f" The {_MAX_DRAWN} worst of {len(groups)} groups are drawn." if len(groups) > len(drawn) else ""
    )
    alt = (
        f"Worst is {worst} with {number(record.get(f'worst_group_{measure}'))}, overall {number(average)}."
        f"{' Bars are 95 % intervals.' if 'error_x' in trace else ''}{left_out}"
    )
    title = _title(record, f"{measure} per group")
    return Plot(title, alt, [trace], layout, table, wide=True, values_open=True)


def _labels(groups: list[Record]) -> list[str]:
    names = labels([str(group["name"]) for group in groups], 20)
    return [f"{name} (n={group.get('count') or 0})" for name, group in zip(names, groups, strict=True)]


def _title(record: Record, what: str) -> str:
    where = f" at step {record['selected_step']:,}" if record.get("final") else ""
    if not where and "step" in record:
        where = f" at step {record['step']:,}"
    return f"{str(record.get('split', 'evaluation')).capitalize()}{where}: {what}"
