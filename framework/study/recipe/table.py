"""What the last phase of a recipe is beside its first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.reporting.text import number
from framework.study.results import Result

#: measures that a table shows after the selection metric, each where both runs have it
_SHOWN = (
    "accuracy",
    "group_average_accuracy",
    "worst_group_accuracy",
    "loss",
    "group_average_loss",
    "worst_group_loss",
    "perplexity",
)


def result_rows(
    first: Result, last: Result, names: tuple[str, str]
) -> tuple[str, list[str], list[list[str]]]:
    """Title, headings and rows: metrics, then every group, of the selected checkpoints.

    Args:
        first: the run of the first phase.
        last: that of the last phase.
        names: of the two phases.
    """
    splits = [split for split in last.final if split in first.final]
    split = "test" if "test" in splits else next(iter(splits), "")
    before, after = first.final.get(split, {}), last.final.get(split, {})
    metrics = dict.fromkeys((last.metric, *_SHOWN))
    rows = [_row(name, before.get(name), after.get(name)) for name in metrics if name in after]
    measure = "accuracy" if "accuracy" in last.maximize and "accuracy" in after else "loss"
    earlier = _by_group(before, measure)
    for name, value in _by_group(after, measure).items():
        rows.append(_row(f"{name}: {measure}", earlier.get(name), value))
    return f"{split} split" if split else "no split", ["", *names, "difference"], rows


def _row(name: str, before: Any, after: Any) -> list[str]:
    known = isinstance(before, int | float) and isinstance(after, int | float)
    difference = number(after - before) if known else ""
    if known and after > before:
        difference = f"+{difference}"
    return [name, number(before), number(after), difference]


def _by_group(record: Mapping[str, Any], measure: str) -> dict[str, Any]:
    return {group["name"]: group.get(measure) for group in record.get("groups", ())}
