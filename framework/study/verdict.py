"""What a comparison shows, in sentences: the verdict about each arm, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework.reporting.text import number
from framework.study.arms import Arm
from framework.study.comparison import Comparison, Test
from framework.study.significance import ALPHA, MAX_SEEDS

#: with fewer pairs a t-test rests on the differences being normal more than on the data
_FEW = 10
#: with so many arms to compare with the first, one sentence sums them up
_MANY = 4


def verdicts(comparison: Comparison) -> list[str]:
    """One sentence or two for each arm but the first, about the metric that checkpoints were selected by."""
    base, *others = comparison.arms
    if not others:
        return [f"There is one arm, {base.name}: nothing to compare it with."]
    metric = comparison.metric
    tests = comparison.tests[metric]
    number_of_tests = sum(test is not None for test in tests)
    return [
        _verdict(arm, base, test, comparison, number_of_tests)
        for arm, test in zip(others, tests, strict=True)
    ]


def summary(comparison: Comparison) -> str:
    """All arms in one sentence; empty for so few that their verdicts are as quickly read."""
    base, *others = comparison.arms
    if len(others) < _MANY:
        return ""
    better, worse, open_ = [], [], []
    for arm, test in zip(others, comparison.tests[comparison.metric], strict=True):
        if test is None or not test.significant or test.difference.mean == 0:
            open_.append(arm.name)
        elif (test.difference.mean > 0) == comparison.maximize[comparison.metric]:
            better.append(arm.name)
        else:
            worse.append(arm.name)
    sides = (
        (f"better than {base.name}", better),
        (f"worse than {base.name}", worse),
        ("not significantly different from it", open_),
    )
    said = [f"{len(names)} {what} ({', '.join(names)})" for what, names in sides if names]
    return f"Of {len(others)} arms by {comparison.metric} on {comparison.split}: {'; '.join(said)}."


def notes(comparison: Comparison, data: Mapping[str, Any]) -> list[str]:
    """How the numbers came about and what they cannot say; `data` is the configuration of one run."""
    rule = data["select"]
    lines = [
        f"Each run reports its checkpoint with the best {rule['metric']} on {rule['split']}; the numbers are"
        f" those on {comparison.split}.",
        _splits(data),
    ]
    tests = [test for test in comparison.tests[comparison.metric] if test is not None]
    if tests:
        lines.append(_method(comparison, len(tests)))
        few = min(len(test.seeds) for test in tests)
        if comparison.is_paired and few < _FEW:
            lines.append(
                f"With {few} seeds the t-test leans on normal differences; {_FEW} or more are better."
            )
        if comparison.is_paired and not any(test.difference.wilcoxon_p is not None for test in tests):
            least = min((test.difference.wilcoxon_min_p or 1.0) for test in tests)
            lines.append(
                "Wilcoxon's signed-rank test is left out: with so few pairs that differ its smallest p is"
                f" {least:.3g}"
                + (f", times {len(tests)} arms" if len(tests) > 1 else "")
                + f", so it cannot reach {ALPHA}."
            )
    lines += _missing(comparison.arms)
    lines += _data_differs(comparison.arms)
    return lines


def _verdict(arm: Arm, base: Arm, test: Test | None, comparison: Comparison, num_tests: int) -> str:
    metric = f"{comparison.metric} on {comparison.split}"
    if test is None:
        return f"{arm.name}: no results of this arm or of {base.name}, so no verdict."
    difference = test.difference
    seen = f"{_signed(difference.mean)} {metric}"
    if difference.low is not None and difference.high is not None:
        seen += f", 95 % interval {_signed(difference.low)} to {_signed(difference.high)}"
    if test.t_p_holm is not None:
        adjusted = " after Holm's correction" if num_tests > 1 else ""
        seen += f", {_p(test.t_p_holm)}{adjusted}"
    if test.significant and difference.mean != 0:
        better = (difference.mean > 0) == comparison.maximize[comparison.metric]
        text = f"{arm.name} is {'better' if better else 'worse'} than {base.name} ({seen})"
        return text + (f", in {_of(test)} seeds." if test.seeds else ".")
    if difference.paired and difference.n < 2:
        return (
            f"{arm.name} against {base.name}: {seen} in one pair of runs, which cannot tell it from chance."
        )
    text = f"No significant difference between {arm.name} and {base.name} ({seen})."
    if difference.std is None:
        return text
    if difference.mean == 0:
        return f"{text} The mean difference is zero: no number of seeds would show one."
    if difference.std == 0:
        return f"{text} All pairs differ by the same amount, of which a t-test can say nothing."
    if test.wilcoxon_p_holm is not None and test.wilcoxon_p_holm <= ALPHA:
        text += (
            f" Its sign is steadier than its size: the same in {_of(test)} seeds, {_p(test.wilcoxon_p_holm)}"
            f" by the signed-rank test{' after the same correction' if num_tests > 1 else ''}."
        )
    return (
        f"{text} To see a difference of this size in four of five attempts, {_needed(test)} would be needed."
    )


def _needed(test: Test) -> str:
    if test.seeds_needed is None:
        return f"more than {MAX_SEEDS} seeds"
    # The estimate rests on the difference that was seen, which is as uncertain as the interval is wide.
    return f"about {test.seeds_needed} seeds"


def _of(test: Test) -> str:
    better_in = max(test.wins, test.losses)
    return f"{better_in} of {len(test.seeds)}"


def _method(comparison: Comparison, num_tests: int) -> str:
    if comparison.is_paired:
        text = "Runs of equal seeds are paired; intervals and p-values are those of the paired t-test"
    else:
        text = "The arms share too few seeds to be paired: intervals and p-values are those of Welch's t-test"
    if num_tests > 1:
        text += f", p-values adjusted for {num_tests} arms by Holm's method (intervals are not)"
    return (
        f"{text}. The verdict is about {comparison.metric} alone; * marks another metric whose p is at most"
        f" {ALPHA}."
    )


def _splits(data: Mapping[str, Any]) -> str:
    seed = data["data"]["splits"]["seed"]
    if seed is None:
        return (
            "data.splits.seed is null: each seed has splits of its own where the source brings none, the same"
            " for all arms, so that differences hold beyond one split."
        )
    return (
        f"data.splits.seed is {seed}: all seeds share one split, so that differences hold for this split and"
        " for the spread of training alone."
    )


def _missing(arms: Sequence[Arm]) -> list[str]:
    return [
        f"{arm.name} lacks seed {', '.join(str(seed) for seed in arm.missing)}; pairs need both runs."
        for arm in arms
        if arm.missing
    ]


def _data_differs(arms: Sequence[Arm]) -> list[str]:
    sources = [
        {
            key: value
            for key, value in next(iter(arm.results.values())).config["data"].items()
            if key in _MEASURED
        }
        for arm in arms
        if arm.results
    ]
    if any(source != sources[0] for source in sources):
        return ["The arms differ in their data: see that they are measured on the same samples."]
    return []


#: the parts of the data's section that samples and groups of the evaluation come from
_MEASURED = ("source", "splits", "transforms", "groups", "unknown_group")


def p_value(p: float | None) -> str:
    """Three digits, or that it is tiny."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def _p(p: float) -> str:
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "") + number(value)
