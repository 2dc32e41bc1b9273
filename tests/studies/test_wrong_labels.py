"""Wrong labels, as in docs/studies.md: leaning away does no harm, a filter as large as the noise does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from framework.__main__ import main
from framework.config.sources import locate_arms

NUM_SEEDS = 5


@pytest.mark.slow
def test_a_filter_as_large_as_the_noise_loses_a_class_and_a_tilt_does_not(tmp_path: Path) -> None:
    arms = yaml.safe_load(locate_arms("label_noise").read_text())
    rates = {"erm": "3e-3", "tilted_easy": "3e-3", "rgd_trimmed_30": "1e-3"}
    chosen = {name: [*arms[name], f"optimizer.lr={rate}"] for name, rate in rates.items()}
    file = tmp_path / "arms.yaml"
    file.write_text(yaml.safe_dump(chosen, sort_keys=False))
    words = ["conf=study/label_noise", f"arms={file}", f"seeds={NUM_SEEDS}", "jobs=2"]
    assert main(["compare", *words, f"out={tmp_path / 'study'}"]) == 0
    content = json.loads((tmp_path / "study" / "comparison.json").read_text())
    rows = {(row["arm"], row["metric"]): row for row in content["table"]}
    assert rows["rgd_trimmed_30", "worst_group_accuracy"]["mean"] == 0.0
    assert rows["rgd_trimmed_30", "accuracy"]["mean"] < rows["erm", "accuracy"]["mean"] - 0.05
    assert rows["tilted_easy", "accuracy"]["mean"] > rows["erm", "accuracy"]["mean"] - 0.005
    assert rows["tilted_easy", "ece"]["mean"] < 0.1 < rows["erm", "ece"]["mean"]
