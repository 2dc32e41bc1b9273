from __future__ import annotations

import math
from typing import Any

import pytest

from framework.errors import CheckpointError, ConfigError
from framework.evaluation.select import Selector, metric_names


class Task:
    maximize = frozenset({"accuracy", "worst_class_accuracy"})


def selector(
    metric: str = "worst_group_accuracy", mode: Any = "auto", patience: int | None = None
) -> Selector:
    return Selector(metric, mode, patience, Task())  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "worst_group_", "group_average_", "weighted_"])
def test_auto_follows_the_measure(prefix):
    assert selector(f"{prefix}accuracy").maximize
    assert not selector(f"{prefix}loss").maximize
    assert selector("worst_class_accuracy").maximize
    assert not selector(f"{prefix}accuracy", "min").maximize
    assert selector(f"{prefix}loss", "max").maximize


def consider(chosen: Selector, values: list[float | None]) -> list[bool]:
    return [chosen.consider({chosen.metric: value}, step) for step, value in enumerate(values)]


def test_improves_on_strictly_better_numbers_only():
    chosen = selector()
    assert consider(chosen, [0.5, 0.5, 0.6, 0.4]) == [True, False, True, False]
    assert (chosen.best, chosen.best_step) == (0.6, 2)
    assert consider(selector("loss"), [0.5, 0.5, 0.6, 0.4]) == [True, False, False, True]


def test_nan_and_null_never_improve():
    chosen = selector()
    assert consider(chosen, [math.nan, None]) == [False, False]
    assert chosen.best is None
    assert consider(chosen, [0.1, math.nan]) == [True, False]
    assert chosen.best == 0.1


def test_patience_counts_evaluations_since_the_best():
    chosen = selector(patience=2)
    consider(chosen, [0.5, 0.4])
    assert not chosen.should_stop
    consider(chosen, [0.6, 0.5])
    assert not chosen.should_stop
    consider(chosen, [math.nan])
    assert chosen.should_stop
    endless = selector()
    consider(endless, [0.5, *[0.4] * 100])
    assert not endless.should_stop


def test_unknown_metric_names_the_nearest_and_all():
    record = {"event": "evaluation", "step": 3, "loss": 1.0, "worst_group_accuracy": None, "seconds": 1.0}
    with pytest.raises(
        ConfigError, match=r"did you mean worst_group_accuracy\?.*one of: loss, worst_group_acc"
    ):
        selector("worst_group_acuracy").consider(record, 3)
    with pytest.raises(ConfigError, match=r"select\.metric"):
        selector("f1").check_metric(["loss"])
    selector("loss").check_metric(metric_names(record))
    assert metric_names(record) == ["loss", "worst_group_accuracy"]


def test_state_survives():
    chosen = selector(patience=2)
    consider(chosen, [0.5, 0.4])
    again = selector(patience=2)
    again.load_state_dict(chosen.state_dict())
    assert not again.consider({again.metric: 0.5}, 9)
    assert again.should_stop
    assert again.state_dict()["best_step"] == 0
    with pytest.raises(CheckpointError, match="smallest loss"):
        selector("loss").load_state_dict(chosen.state_dict())


def considered(chosen: Selector, values: list[tuple[float, float]]) -> list[bool]:
    """`values` are the worst group's accuracy and the group average."""
    return [
        chosen.consider({"worst_group_accuracy": worst, "group_average_accuracy": average}, step)
        for step, (worst, average) in enumerate(values)
    ]


def test_equal_worst_groups_are_told_apart_by_the_group_average():
    values = [(0.0, 0.2), (0.0, 0.6), (0.0, 0.5), (0.1, 0.3)]
    assert considered(selector(), values) == [True, True, False, True]
    first = Selector("worst_group_accuracy", "auto", None, Task(), "first")  # type: ignore[arg-type]
    assert considered(first, values) == [True, False, False, True]


def test_ties_survive_a_restart():
    before, after = selector(), selector()
    considered(before, [(0.0, 0.5)])
    after.load_state_dict(before.state_dict())
    assert considered(after, [(0.0, 0.4), (0.0, 0.6)]) == [False, True]
