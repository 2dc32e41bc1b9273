"""Tables of a run: header, evaluation per group, policy state. Rich renderables that any verb can print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from framework.reporting.lines import judged_by
from framework.reporting.text import number, shorten_group
from framework.training.hooks import Record

#: rows of an evaluation table below its groups: prefix of the metric -> what it is called
_SUMMARY_ROWS = {
    "": "overall",
    "group_average_": "group average",
    "weighted_": "as in training",
    "worst_group_": "worst group",
}
_NOT_MEASURES = frozenset({"name", "count", "train_count"})
_GAP = 3  # between two columns
_NAME_WIDTH = 14  # at least, for the names of groups and summary rows
_COUNT_WIDTHS = {"training": 8, "samples": 7}
_NUMBER_WIDTH = 8


def header_table(summary: Sequence[tuple[str, str]]) -> Table:
    """The lines that describe a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in summary:
        table.add_row(Text(label), Text(text))
    return table


def evaluation_table(record: Record, *, width: int = 100, max_groups: int = 24) -> Table:
    """One split: a row per group, the worst first, then the averages.

    `width` decides how many measures are shown and how long names may be.
    """
    groups: list[Mapping[str, Any]] = list(record.get("groups", []))
    judge = judged_by(record)
    known = any(group.get("train_count") is not None for group in groups)
    show_train, measures, name_width = _layout(_measures(groups, judge), known, width)
    table = _table(_title(record))
    table.add_column("group", no_wrap=True)
    for label in ["training", "samples"] if show_train else ["samples"]:
        table.add_column(label, justify="right", no_wrap=True)
    for measure in measures:
        table.add_column(measure, justify="right", no_wrap=True)

    def add(name: str, train_count: Any, count: Any, values: Sequence[float | None], style: str) -> None:
        counts = [train_count, count] if show_train else [count]
        cells = [
            Text(shorten_group(name, name_width)),
            *(Text("" if n is None else f"{n:,}") for n in counts),
        ]
        table.add_row(*cells, *(Text(number(value)) for value in values), style=style)

    ordered = _worst_first(groups, judge, record)
    shown = ordered if len(ordered) <= max_groups else ordered[: max_groups - 1]
    for group in shown:
        worst = group["name"] == record.get("worst_group")
        add(
            group["name"],
            group.get("train_count"),
            group["count"],
            [group.get(measure) for measure in measures],
            "bold red" if worst else "",
        )
    if len(shown) < len(ordered):
        table.add_row(Text(f"... and {len(ordered) - len(shown)} more"), style="dim")
    table.add_section()
    for prefix, label in _SUMMARY_ROWS.items():
        if any(f"{prefix}{measure}" in record for measure in measures):
            count = record.get("num_samples") if prefix == "" else None
            values = [record.get(f"{prefix}{measure}") for measure in measures]
            add(label, None, count, values, "bold" if prefix == "worst_group_" else "")
    return table


def other_metrics(record: Record) -> list[tuple[str, str]]:
    """The task's own metrics of an evaluation record, those that `evaluation_table` has no row for."""
    measures = _measures(record.get("groups", []), None)
    tabled = {f"{prefix}{measure}" for prefix in _SUMMARY_ROWS for measure in measures}
    return [
        (name, number(value))
        for name, value in record.items()
        if isinstance(value, float) and name not in tabled and not name.endswith("seconds")
    ]


def policy_table(record: Record, *, width: int = 100, max_groups: int = 12) -> Table | None:
    """The groups that a policy counts most, with bars; None for a policy without state per group."""
    states = {name: value for name, value in record.items() if isinstance(value, dict) and value}
    if not states:
        return None
    name, values = next(iter(states.items()))
    if name.endswith("_summary"):
        name, total, values = name.removesuffix("_summary"), values["groups"], values["top"]
    else:
        total = len(values)
    ranked = sorted(values.items(), key=lambda item: -item[1])[:max_groups]
    largest = max((value for _, value in ranked if math.isfinite(value)), default=0.0)
    bar_width = min(30, max(4, width - 42))
    title = f"policy state {name}" + (f" at step {record['step']}" if "step" in record else "")
    table = _table(title)
    table.add_column("group", no_wrap=True)
    table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for group, value in ranked:
        length = round(bar_width * value / largest) if largest > 0 and math.isfinite(value) else 0
        table.add_row(
            Text(shorten_group(group, max(12, width - bar_width - 20))), Text(number(value)), "=" * length
        )
    if len(ranked) < total:
        table.add_row(Text(f"... and {total - len(ranked)} more"), style="dim")
    return table


def _table(title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
    )


def _layout(measures: Sequence[str], known: bool, width: int) -> tuple[bool, list[str], int]:
    """Whether the training counts are shown, which measures, and the width left for names.

    Measures give way first, down to two; then the training counts; then all but one measure.
    """
    choices = [(known, k) for k in range(len(measures), 1, -1)] + [(False, 2), (known, 1), (False, 1)]
    for show_train, num_measures in choices:
        shown = list(measures[:num_measures])
        counts = [size for label, size in _COUNT_WIDTHS.items() if show_train or label != "training"]
        columns = counts + [max(_NUMBER_WIDTH, len(measure)) for measure in shown]
        left = width - sum(columns) - _GAP * len(columns)
        if left >= _NAME_WIDTH:
            break
    return show_train, shown, max(_NAME_WIDTH, left)


def _title(record: Record) -> str:
    split = str(record.get("split", "evaluation"))
    if record.get("final"):
        return f"{split} at the selected step {record['selected_step']:,}"
    return f"{split} at step {record['step']:,}" if "step" in record else split


def _measures(groups: Sequence[Mapping[str, Any]], judge: str | None) -> list[str]:
    """Names of the measures, the one that the worst group is found by first."""
    names = [name for name in (groups[0] if groups else {}) if name not in _NOT_MEASURES]
    return sorted(names, key=lambda name: (name != judge, name != "loss"))


def _worst_first(
    groups: Sequence[Mapping[str, Any]], judge: str | None, record: Record
) -> list[Mapping[str, Any]]:
    """Worst group first, groups without samples last.

    Which way is worse shows in the record: the worst group lies on that side of the average.
    """
    if judge is None:
        return list(groups)
    worst, average = record.get(f"worst_group_{judge}"), record.get(f"group_average_{judge}")
    larger_is_worse = worst is not None and average is not None and worst > average

    def place(group: Mapping[str, Any]) -> tuple[bool, bool, float]:
        value = group.get(judge)
        if value is None:
            return (True, False, 0.0)
        if math.isnan(value):
            return (False, False, 0.0)
        return (False, True, -value if larger_is_worse else value)

    return sorted(groups, key=place)
