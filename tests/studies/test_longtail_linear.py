"""RGD on a model that underfits: its margin over ERM, and where it goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.studies.runs import Outcome, Scores, best_of, run, sign_test, table, versus

CONF = "paper/rgd_longtail_linear"
SEEDS = range(20)
POLICIES = {
    "ERM": ["policy=erm"],
    "RGD": [],
    "RGD, mean_one": ["policy.normalization=mean_one"],
    "RGD, sum_one": ["policy.normalization=sum_one"],
}


def measured(outcome: Outcome) -> float:
    return float(outcome.final["test"]["group_average_accuracy"])


def at(tmp_path: Path, lr: str) -> Scores:
    scores = {}
    for name, policy in POLICIES.items():
        words = [*policy, f"optimizer.lr={lr}"]
        scores[name] = [measured(run(tmp_path / "run", CONF, [*words, f"seed={seed}"])) for seed in SEEDS]
    print("\n" + table(f"lt20, linear, lr {lr}: mean over classes, test", scores, "ERM"))
    return scores


def assert_better(scores: Scores, name: str) -> None:
    wins, losses = versus(scores[name], scores["ERM"])
    assert wins > losses, (name, wins, losses)
    assert sign_test(wins, losses) < 0.01, (name, wins, losses)


@pytest.mark.slow
def test_rgd_is_better_as_long_as_the_model_underfits(tmp_path: Path) -> None:
    """At the learning rate of the file it does; at ten times that it fits, and the margin is gone."""
    small, large = at(tmp_path, "1e-3"), at(tmp_path, "1e-2")
    assert_better(small, "RGD")
    assert_better(small, "RGD, mean_one")
    assert small["RGD, mean_one"] == pytest.approx(small["RGD, sum_one"], abs=1e-12)
    assert np.mean(large["RGD"]) - np.mean(large["ERM"]) < np.mean(small["RGD"]) - np.mean(small["ERM"])


@pytest.mark.slow
def test_rgd_is_better_when_both_tune_the_learning_rate(tmp_path: Path) -> None:
    grid = [["optimizer.lr=5e-4"], ["optimizer.lr=1e-3"], ["optimizer.lr=2e-3"]]
    scores = {
        name: [measured(best_of(tmp_path / "run", CONF, [*policy, f"seed={s}"], grid)) for s in SEEDS]
        for name, policy in POLICIES.items()
        if name != "RGD, sum_one"
    }
    print("\n" + table("lt20, linear, best lr of 5e-4, 1e-3, 2e-3: mean over classes, test", scores, "ERM"))
    assert_better(scores, "RGD")
    assert_better(scores, "RGD, mean_one")
