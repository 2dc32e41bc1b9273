"""The one rule by which a checkpoint is chosen and training stops early."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from framework.errors import CheckpointError, ConfigError, Problem
from framework.evaluation.averages import is_maximized
from framework.naming import listed, nearest
from framework.tasks.base import Task

WORST = "worst_group_"


class Selector:
    """Remembers the best value of one metric, and for how many evaluations there was no better one.

    A worst group that no model gets right yet leaves the metric at 0 for many evaluations; the first of
    them, an untrained model, is not what anyone means by the best. So equal values of a `worst_group_`
    metric are told apart by the `group_average_` of the same measure, unless `tie_break` is `first`.

    Attributes:
        best: the best value so far, None before the first number.
        best_tie: what equal values are compared by, at the best; None where nothing is.
        best_step: the step at which it was measured.
    """

    def __init__(
        self,
        metric: str,
        mode: Literal["auto", "max", "min"],
        patience: int | None,
        task: Task,
        tie_break: Literal["group_average", "first"] = "group_average",
    ) -> None:
        self.metric = metric
        worst_group = metric.startswith(WORST) and tie_break == "group_average"
        self.tie_metric = "group_average_" + metric.removeprefix(WORST) if worst_group else None
        self.maximize = is_maximized(metric, task.maximize) if mode == "auto" else mode == "max"
        self.patience = patience
        self.best: float | None = None
        self.best_tie: float | None = None
        self.best_step: int | None = None
        self._without_improvement = 0

    @property
    def should_stop(self) -> bool:
        """Whether patience is spent."""
        return self.patience is not None and self._without_improvement >= self.patience

    def check_metric(self, available: Iterable[str]) -> None:
        """Refuse a metric that no evaluation gives.

        Raises:
            ConfigError: naming the metrics there are, and the nearest one.
        """
        names = sorted(available)
        if self.metric not in names:
            message = f"unknown metric '{self.metric}'{nearest(self.metric, names)}"
            raise ConfigError([Problem("select.metric", f"{message}{listed(names)}")])

    def consider(self, record: Mapping[str, Any], step: int) -> bool:
        """Whether the evaluation `record` of `step` is the best so far; NaN and null never are.

        Raises:
            ConfigError: the record has no such metric.
        """
        value = record.get(self.metric)
        if value is None:
            self.check_metric(metric_names(record))
        tie = record.get(self.tie_metric) if self.tie_metric is not None else None
        improved = value is not None and not math.isnan(value) and self._is_better(value, tie)
        if improved:
            self.best, self.best_tie, self.best_step = value, tie, step
            self._without_improvement = 0
        else:
            self._without_improvement += 1
        return improved

    def forget(self) -> None:
        """Start over, as if nothing had been measured."""
        self.best, self.best_tie, self.best_step, self._without_improvement = None, None, None, 0

    def state_dict(self) -> dict[str, Any]:
        """The metric and its best value so far."""
        return {
            "metric": self.metric,
            "maximize": self.maximize,
            "best": self.best,
            "best_tie": self.best_tie,
            "best_step": self.best_step,
            "without_improvement": self._without_improvement,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over `state`.

        Raises:
            CheckpointError: the state is of another metric or mode.
        """
        if (state["metric"], state["maximize"]) != (self.metric, self.maximize):
            raise CheckpointError(
                f"the checkpoint was selected by the {'largest' if state['maximize'] else 'smallest'}"
                f" {state['metric']}, this run selects by the"
                f" {'largest' if self.maximize else 'smallest'} {self.metric}"
            )
        self.best, self.best_tie, self.best_step = state["best"], state["best_tie"], state["best_step"]
        self._without_improvement = state["without_improvement"]

    def _is_better(self, value: float, tie: float | None) -> bool:
        if self.best is None:
            return True
        if value == self.best and tie is not None and self.best_tie is not None:
            value, best = tie, self.best_tie
        else:
            best = self.best
        return value > best if self.maximize else value < best


#: keys of an evaluation record that hold numbers but measure nothing
_NOT_METRICS = frozenset({"step", "epoch", "num_samples", "left_out"})


def metric_names(record: Mapping[str, Any]) -> list[str]:
    """The metrics of an evaluation record that a rule can select by, those without a value included."""
    return [
        name
        for name, value in record.items()
        if (value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)))
        and name not in _NOT_METRICS
        and not name.endswith("seconds")
    ]
