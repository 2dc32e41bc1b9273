"""ALSO on imbalanced even and odd digits: what the prior does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.runs import run, sign_test, table, versus

CONF = "even_odd_also"
SEEDS = range(10)
POLICIES = {
    "ERM": ["policy=erm"],
    "ERM, group_balanced": ["policy=erm", "data.sampling.name=group_balanced"],
    "static prior alone": ["policy=also_descent_ascent", "policy.pi_lr=0"],
    "ALSO, static prior": [],
    "ALSO, uniform prior": ["policy.pi_reg=uniform"],
}


@pytest.mark.slow
def test_the_static_prior_makes_the_difference(tmp_path: Path) -> None:
    worst, mean = {}, {}
    for name, policy in POLICIES.items():
        outcomes = [run(tmp_path / "run", CONF, [*policy, f"seed={seed}"]).final["test"] for seed in SEEDS]
        worst[name] = [final["worst_group_accuracy"] for final in outcomes]
        mean[name] = [final["group_average_accuracy"] for final in outcomes]
    print("\n" + table("eo10: worst group, test", worst, "ERM"))
    print("\n" + table("eo10: mean over groups, test", mean, "ERM"))

    wins, losses = versus(worst["ALSO, static prior"], worst["ERM"])
    assert wins > losses
    assert sign_test(wins, losses) < 0.05
    wins, losses = versus(worst["ALSO, static prior"], worst["ALSO, uniform prior"])
    assert wins > losses
    assert sign_test(wins, losses) < 0.05
