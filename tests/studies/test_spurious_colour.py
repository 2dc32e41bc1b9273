"""Table 1 of Sagawa et al. (ICLR 2020) in miniature: strong L2 or early stopping separates the policies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.studies.runs import run, sign_test, table, versus

CONF = "paper/group_dro_spurious"
SEEDS = range(10)
PLAIN, RESAMPLED = "data.sampling.name=uniform", "data.sampling.name=group_balanced"
POLICIES = {
    "ERM": ["policy=erm", PLAIN],
    "ERM, group_balanced": ["policy=erm", RESAMPLED],
    "group DRO": [PLAIN],
    "group DRO, group_balanced": [RESAMPLED],
}
REGIMES = {
    "standard L2 1e-4": ["optimizer.weight_decay=1e-4"],
    "strong L2 0.01": [],
    "L2 1e-4, 10 epochs": ["optimizer.weight_decay=1e-4", "train.epochs=10"],
}


@pytest.mark.slow
@pytest.mark.parametrize("regime", REGIMES)
def test_worst_group_of_the_last_epoch(regime: str, tmp_path: Path) -> None:
    train, test, average = {}, {}, {}
    for name, policy in POLICIES.items():
        outcomes = [
            run(tmp_path / "run", CONF, [*policy, *REGIMES[regime], f"seed={seed}"]).final for seed in SEEDS
        ]
        train[name] = [final["train"]["worst_group_accuracy"] for final in outcomes]
        test[name] = [final["test"]["worst_group_accuracy"] for final in outcomes]
        average[name] = [final["test"]["weighted_accuracy"] for final in outcomes]
    for title, scores in {
        "worst group, test": test,
        "worst group, train": train,
        "average weighted as in training, test": average,
    }.items():
        print("\n" + table(f"cd95, {regime}: {title}", scores, "ERM"))

    ours = test["group DRO, group_balanced"]
    wins, losses = versus(ours, test["ERM"])
    assert wins > losses
    if regime != "standard L2 1e-4":
        assert sign_test(wins, losses) < 0.01
        assert np.mean(ours) - np.mean(test["ERM"]) > 0.2
        # ERM does not even fit its training minorities, group DRO does
        assert np.mean(train["ERM"]) < 0.5 < np.mean(train["group DRO, group_balanced"])
    # The fair rival has the same sampler: nearly all of the margin is the sampler's.
    assert abs(np.mean(ours) - np.mean(test["ERM, group_balanced"])) < 0.1
