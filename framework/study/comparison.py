"""From the results of all arms to one table: means, differences to the first arm, tests, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from framework.errors import UserError
from framework.study.arms import Arm
from framework.study.results import COSTS, RUNS, Result
from framework.study.significance import (
    ALPHA,
    Difference,
    holm,
    paired,
    seeds_needed,
    unpaired,
)

#: measures that a table shows after the selection metric, each where the runs have it
_SHOWN = ("accuracy", "worst_group_accuracy", "group_average_accuracy", "ece")
#: the same where there is no accuracy
_SHOWN_INSTEAD = ("loss", "worst_group_loss", "group_average_loss", "rmse", "mae")


@dataclass(frozen=True)
class Cell:
    """A metric of one arm.

    Attributes:
        values: seed -> value.
        std: sample standard deviation over seeds (n - 1), None for one seed.
    """

    values: Mapping[int, float]
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class Test:
    """A metric of one arm against the first arm.

    Attributes:
        seeds: the seeds whose runs were paired; empty if unpaired.
        difference: with its tests. A signed-rank p-value that could not reach significance whatever the
            values are is left out.
        t_p_holm: p-value of the t-test, adjusted for the number of arms.
        wilcoxon_p_holm: the same of the signed-rank test.
        wins: seeds in which the arm is better than the first one; whether more or less is better is known.
        seeds_needed: how many seeds would find such a difference with probability 0.8; None if it cannot
            be said or is more than 1000.
    """

    seeds: tuple[int, ...]
    difference: Difference
    t_p_holm: float | None = None
    wilcoxon_p_holm: float | None = None
    wins: int = 0
    ties: int = 0
    losses: int = 0
    seeds_needed: int | None = None

    @property
    def significant(self) -> bool:
        """Whether the adjusted t-test says that there is a difference."""
        return self.t_p_holm is not None and self.t_p_holm <= ALPHA


@dataclass(frozen=True)
class Comparison:
    """All numbers of a comparison.

    Attributes:
        arms: in the order given; the first one is what the others are compared with.
        split: where the metrics are measured, at the selected checkpoints.
        metric: the one that checkpoints were selected by; the verdict is about it.
        metrics: what is in the table, `metric` first, costs last.
        maximize: metric -> whether more is better.
        cells: metric -> one for each arm.
        tests: metric -> one for each arm but the first; None where there is nothing to compare.
    """

    arms: tuple[Arm, ...]
    split: str
    metric: str
    metrics: tuple[str, ...]
    maximize: Mapping[str, bool]
    cells: Mapping[str, tuple[Cell, ...]]
    tests: Mapping[str, tuple[Test | None, ...]]

    @property
    def is_paired(self) -> bool:
        """Whether runs of equal seeds were compared."""
        return all(test.difference.paired for tests in self.tests.values() for test in tests if test)


def compare(arms: Sequence[Arm]) -> Comparison:
    """Put the arms side by side.

    Raises:
        UserError: no arm has a result, or they were not selected or measured alike.
    """
    results = [result for arm in arms for result in arm.results.values()]
    if not results:
        raise UserError("no run came to its end: there is nothing to compare")
    _check_alike(results)
    metric, split = results[0].metric, _split(results)
    available = set(_numbers(results, split))
    shown = _SHOWN if "accuracy" in available else _SHOWN_INSTEAD
    costs = [cost for cost in COSTS if any(_is_told(cost, result) for result in results)]
    metrics = tuple(dict.fromkeys([metric, *(name for name in shown if name in available), *costs]))
    maximize = {name: results[0].is_maximized(name) for name in metrics}
    cells = {name: tuple(_cell(arm, name, split) for arm in arms) for name in metrics}
    tests = {name: _tests(cells[name], maximize[name]) for name in metrics}
    return Comparison(tuple(arms), split, metric, metrics, maximize, cells, tests)


def _check_alike(results: Sequence[Result]) -> None:
    first = results[0]
    for result in results[1:]:
        for key in ("select", "task.name"):
            section, _, name = key.partition(".")
            one, other = first.config[section], result.config[section]
            if (one[name] != other[name]) if name else (one != other):
                raise UserError(
                    f"{first.folder} and {result.folder} have another {key}: only runs of one task that"
                    " were selected by one rule can be compared"
                )


def _is_told(cost: str, result: Result) -> bool:
    """Whether the run knows this cost; that it is one run goes without saying."""
    value = result.costs.get(cost)
    return value is not None and (cost != RUNS or value > 1)


def _split(results: Sequence[Result]) -> str:
    """The test split where every run measured it, else the last one that all did."""
    without = [str(result.folder) for result in results if not result.final]
    if without:
        raise UserError(f"{without[0]} has no final evaluation (evaluate.final) in its metrics.jsonl")
    common = [split for split in results[0].final if all(split in result.final for result in results)]
    if not common:
        raise UserError("the runs have no final evaluation of a split in common (evaluate.final)")
    return "test" if "test" in common else common[-1]


def _numbers(results: Sequence[Result], split: str) -> list[str]:
    return [name for name in results[0].final[split] if results[0].value(name, split) is not None]


def _cell(arm: Arm, metric: str, split: str) -> Cell:
    values = {seed: result.value(metric, split) for seed, result in sorted(arm.results.items())}
    known = {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}
    numbers = list(known.values())
    if not numbers:
        return Cell({}, None, None)
    return Cell(known, float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None)


def _tests(cells: Sequence[Cell], maximize: bool) -> tuple[Test | None, ...]:
    """Every arm against the first, the p-values adjusted for all of them."""
    base, *others = cells
    tests = [_test(cell, base, maximize) for cell in others]
    number = sum(test is not None for test in tests)
    t_ps = holm([test.difference.t_p if test else None for test in tests])
    # A test that cannot reach significance takes no part: its p-value would say nothing either way.
    ranks = [
        test.difference.wilcoxon_p if test and _can_decide(test.difference, number) else None
        for test in tests
    ]
    adjusted: list[Test | None] = []
    for test, t_p, rank, rank_p in zip(tests, t_ps, ranks, holm(ranks), strict=True):
        if test is None:
            adjusted.append(None)
            continue
        difference = test.difference
        needed = None
        if difference.std is not None:
            needed = seeds_needed(difference.mean, difference.std, ALPHA / number)
        adjusted.append(
            replace(
                test,
                difference=replace(difference, wilcoxon_p=rank),
                t_p_holm=t_p,
                wilcoxon_p_holm=rank_p,
                seeds_needed=needed,
            )
        )
    return tuple(adjusted)


def _can_decide(difference: Difference, number: int) -> bool:
    """Whether the signed-rank test, adjusted for `number` arms, could come out significant at all."""
    least = difference.wilcoxon_min_p
    return least is not None and least * number <= ALPHA


def _test(cell: Cell, base: Cell, maximize: bool) -> Test | None:
    if not cell.values or not base.values:
        return None
    seeds = tuple(seed for seed in cell.values if seed in base.values)
    unmatched = len(seeds) < min(2, len(cell.values), len(base.values))
    if unmatched:
        return Test((), unpaired(list(cell.values.values()), list(base.values.values())))
    ours, theirs = [cell.values[seed] for seed in seeds], [base.values[seed] for seed in seeds]
    signs = [(a > b) - (a < b) if maximize else (b > a) - (b < a) for a, b in zip(ours, theirs, strict=True)]
    return Test(
        seeds,
        paired(ours, theirs),
        wins=signs.count(1),
        ties=signs.count(0),
        losses=signs.count(-1),
    )


def as_data(comparison: Comparison) -> list[dict[str, object]]:
    """One flat row for each metric and arm, for files."""
    rows: list[dict[str, object]] = []
    for metric in comparison.metrics:
        for place, (arm, cell) in enumerate(zip(comparison.arms, comparison.cells[metric], strict=True)):
            row: dict[str, object] = {
                "metric": metric,
                "better": "more" if comparison.maximize[metric] else "less",
                "arm": arm.name,
                "num_seeds": len(cell.values),
                "mean": cell.mean,
                "std": cell.std,
            }
            test = comparison.tests[metric][place - 1] if place else None
            if test is not None:
                difference = {f"difference_{key}": value for key, value in asdict(test.difference).items()}
                row |= difference | {
                    "t_p_holm": test.t_p_holm,
                    "wilcoxon_p_holm": test.wilcoxon_p_holm,
                    "wins": test.wins,
                    "ties": test.ties,
                    "losses": test.losses,
                    "seeds_needed": test.seeds_needed,
                    "significant": test.significant,
                }
            rows.append(row)
    return rows
