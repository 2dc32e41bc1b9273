"""Averages of measures overall, per group, over groups, and by training proportions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np

from framework.evaluation.sums import Sums

Record = dict[str, Any]

#: what a measure's name may be preceded by; the metric is better in the same direction as the measure
PREFIXES = ("worst_group_", "group_average_", "weighted_")


class Groups(Protocol):
    """The groups of evaluation: names, and how many training samples each has."""

    @property
    def names(self) -> Sequence[str]:
        """One per group id."""

    @property
    def counts(self) -> Sequence[int] | np.ndarray:
        """Training samples, one per group id; 0 for a group that training does not know."""


def is_maximized(metric: str, maximize: Collection[str]) -> bool:
    """Whether more of `metric` is better, given the task's `maximize`."""
    stripped = next((metric[len(prefix) :] for prefix in PREFIXES if metric.startswith(prefix)), metric)
    return metric in maximize or stripped in maximize


def averages(sums: Sums, groups: Groups, maximize: Collection[str]) -> Record:
    """The numbers of an evaluation record, from the sums of a whole split.

    A group without samples in the split has count 0 and null measures, and is left out of the worst
    group and of the averages over groups. A NaN is worse than any number. Among equally bad groups the
    first is named.
    """
    counts = [int(count) for count in sums.counts.tolist()]
    train_counts = [int(count) for count in groups.counts]
    present = [group for group, count in enumerate(counts) if count]
    total = sum(counts)
    record: Record = {"num_samples": total}
    tables: dict[str, list[float | None]] = {}
    for name, tensor in sums.measures.items():
        by_group = tensor.tolist()
        record[name] = math.fsum(by_group) / total
        tables[name] = [by_group[group] / count if count else None for group, count in enumerate(counts)]
    for name, table in tables.items():
        values = [table[group] for group in present]
        worst = _worst(table, present, is_maximized(name, maximize))
        record[f"worst_group_{name}"] = table[worst]
        record[f"group_average_{name}"] = _weighted(values, [1] * len(present))
        record[f"weighted_{name}"] = _weighted(values, [train_counts[group] for group in present])
    judge = next((name for name in ("accuracy", "loss") if name in tables), None)
    if judge is not None:
        worst = _worst(tables[judge], present, is_maximized(judge, maximize))
        record["worst_group"] = groups.names[worst]
    record["groups"] = [
        {"name": groups.names[group], "count": count, "train_count": train_counts[group]}
        | {name: table[group] for name, table in tables.items()}
        for group, count in enumerate(counts)
    ]
    return record


def _worst(table: Sequence[float | None], present: Sequence[int], maximized: bool) -> int:
    """The first group of the worst value."""

    def badness(group: int) -> float:
        value = table[group]
        assert value is not None
        if math.isnan(value):
            return math.inf
        return -value if maximized else value

    return max(present, key=badness)


def _weighted(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    """The weighted average, or None when nothing has weight."""
    total = sum(weights)
    # A group of weight 0 is left out altogether: 0 x NaN must not spoil the average.
    terms = [
        weight * value for weight, value in zip(weights, values, strict=True) if weight and value is not None
    ]
    return math.fsum(terms) / total if total else None
