"""Measures in reports: which way is better, how sure one can be of a share, how a sentence says them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from framework.reporting.text import number

Record = Mapping[str, Any]

#: standard normal quantile of a two-sided 95 % interval
Z95 = 1.959963984540054
#: prefixes of an evaluation's averages and how a sentence calls them
AVERAGES = {
    "": "overall",
    "group_average_": "average over groups",
    "weighted_": "weighted as in training",
    "worst_group_": "worst group",
}


def larger_is_better(measure: str) -> bool:
    """Whether more of a group measure is better: of accuracies it is, of losses and errors not."""
    return measure == "accuracy" or measure.endswith("_accuracy")


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): of `count` samples, `hits` were right.

    Raises:
        ValueError: there are no samples.
    """
    if count <= 0:
        raise ValueError("an interval needs at least one sample")
    share, spread = hits / count, Z95 * Z95 / count
    center = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def interval(group: Record, measure: str) -> tuple[float, float] | None:
    """The interval of a group's accuracy; None for another measure or without samples."""
    value, count = group.get(measure), group.get("count")
    if measure != "accuracy" or not is_number(value) or not count:
        return None
    return wilson(value * count, count)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def group_named(record: Record, name: Any) -> Record:
    """The entry of one group in an evaluation record; empty if there is none."""
    groups: Sequence[Record] = record.get("groups", ())
    return next((group for group in groups if group.get("name") == name), {})


def said(value: Any) -> str:
    """A number inside a sentence: three digits are enough there."""
    return f"{value:.3g}" if is_number(value) else number(value)


def spoken(metric: str) -> str:
    """A metric's name in words: `worst_group_accuracy` -> `worst-group accuracy`."""
    if metric == "ece":
        return "calibration error (ECE)"
    hyphened = metric.replace("worst_group_", "worst-group ").replace("group_average_", "group-average ")
    return hyphened.replace("_", " ")
