from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from framework.study.sweep.candidate import Candidate, ranked
from framework.study.sweep.space import Choices, Range
from framework.study.sweep.verdict import noise, verdicts


def trial(number: int, *values: float, **parameters: Any) -> Candidate:
    mean = math.fsum(values) / len(values)
    return Candidate(number, "complete", parameters, mean, dict(enumerate(values)))


def plan(*space: Any, seeds: int = 1) -> Any:
    return SimpleNamespace(
        metric="accuracy", split="validation", maximize=True, space=space, seeds=tuple(range(seeds))
    )


def test_the_best_is_the_largest_or_smallest_and_of_equals_the_first() -> None:
    trials = [trial(0, 0.5), trial(1, 0.9), trial(2, 0.9), Candidate(3, "pruned", {})]
    assert [each.number for each in ranked(trials, maximize=True)] == [1, 2, 0]
    assert [each.number for each in ranked(trials, maximize=False)] == [0, 1, 2]


def test_a_best_value_at_the_end_of_its_range_is_told() -> None:
    lr = Range("lr", 1e-4, 1.0, integer=False, log=True)
    depth, width = Range("depth", 1, 4, integer=True, log=False), Choices("width", ("8", "32", "16"))
    inside = verdicts(plan(lr, depth, width), [trial(0, 0.5, lr=0.01, depth=2, width="16")], {})
    assert not any("extend the range" in line for line in inside)
    lines = verdicts(plan(lr, depth, width), [trial(0, 0.5, lr=0.9, depth=1, width="32")], {})
    told = [line for line in lines if "extend the range" in line]
    assert [line.split(" is at the ")[0] for line in told] == ["lr=0.9", "depth=1", "width=32"]
    assert ["lower" in line for line in told] == [False, True, False]


def test_leads_are_measured_against_the_noise_of_seeds() -> None:
    # Standard deviation over seeds 0.02, so 0.0163 of the difference of two means of three.
    def at(number: int, mean: float) -> Candidate:
        return trial(number, mean - 0.02, mean, mean + 0.02)

    assert "is more than the noise" in noise([at(0, 0.9), at(1, 0.86)], 3)
    doubt = noise([at(0, 0.9), at(1, 0.88), at(2, 0.87), at(3, 0.5)], 3)
    assert doubt.startswith("2 of the other trials (1, 2) are within the noise of seeds")
    assert "0.0200" in doubt
    assert "one seed" in noise([trial(0, 0.9), trial(1, 0.8)], 1)
    assert noise([trial(0, 0.9), trial(1, 0.9)], 1).startswith("1 other trial has the same value")


def test_without_a_complete_trial_there_is_no_answer() -> None:
    assert verdicts(plan(), [Candidate(0, "failed", {}, reason="x")], {}) == ["No trial came to its end."]
