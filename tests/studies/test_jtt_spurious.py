"""JTT in miniature: the worst group gains without groups in training (arXiv 2107.09044)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from framework.__main__ import main
from tests.studies.runs import Scores, run, sign_test, table, versus

SEEDS = range(10)
CONF = "digits_spurious"
LENGTH = "train.epochs=60"
RIVALS = {
    "ERM": ["policy=erm", "data.sampling.name=uniform"],
    "ERM, group_balanced": ["policy=erm"],
}


def jtt(folder: Path, seed: int) -> dict[str, float]:
    """The final test record of the recipe's second run."""
    words = ["conf=recipe/jtt_spurious", "reporting=quiet", f"seed={seed}", f"train_twice:{LENGTH}"]
    assert main(["recipe", *words, f"out={folder}"]) == 0
    lines = (folder / "train_twice" / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(folder)
    records = [json.loads(line) for line in lines]
    return next(record for record in records if record.get("final") and record["split"] == "test")


@pytest.mark.slow
def test_the_worst_group_gains_without_groups_in_training(tmp_path: Path) -> None:
    finals = {
        name: [run(tmp_path / "run", CONF, [*words, LENGTH, f"seed={s}"]).final["test"] for s in SEEDS]
        for name, words in RIVALS.items()
    }
    finals["JTT"] = [jtt(tmp_path / "recipe", seed) for seed in SEEDS]
    for metric, title in {"worst_group_accuracy": "worst group", "group_average_accuracy": "mean"}.items():
        scores: Scores = {name: [final[metric] for final in runs] for name, runs in finals.items()}
        print("\n" + table(f"cd95: {title}, test", scores, "ERM"))
        wins, losses = versus(scores["JTT"], scores["ERM"])
        assert wins > losses
        assert sign_test(wins, losses) < 0.05
        assert np.mean(scores["JTT"]) - np.mean(scores["ERM"]) > 0.05
