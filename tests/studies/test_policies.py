"""Who is sure to be better than ERM, by `compare` on the run files and arms of docs/studies.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from framework.__main__ import main
from framework.config.sources import locate_arms

NUM_SEEDS = 10
AWARE = ("erm_balanced", "importance", "group_dro_balanced", "also_prior")


def compare(folder: Path, conf: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The rows of the selection metric, for some of the shipped arms."""
    arms = yaml.safe_load(locate_arms("classes").read_text())
    file = folder / "arms.yaml"
    file.write_text(yaml.safe_dump({name: arms[name] for name in ("erm", *names)}, sort_keys=False))
    words = [f"conf=study/{conf}", f"arms={file}", "optimizer.lr=3e-3", f"seeds={NUM_SEEDS}", "jobs=2"]
    assert main(["compare", *words, f"out={folder / 'study'}"]) == 0
    content = json.loads((folder / "study" / "comparison.json").read_text())
    return {row["arm"]: row for row in content["table"] if row["metric"] == content["metric"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conf", "sure"),
    [
        ("spurious_colour", AWARE),
        ("spurious_gaussian", AWARE),
        ("even_odd_30", (*AWARE, "logit_adjusted")),
    ],
)
def test_known_groups_lift_the_worst_one_and_rgd_does_not(
    conf: str, sure: tuple[str, ...], tmp_path: Path
) -> None:
    rows = compare(tmp_path, conf, (*sure, "also_uniform", "rgd"))
    for name in sure:
        assert rows[name]["wins"] >= NUM_SEEDS - 1, name
        assert rows[name]["difference_mean"] > 0.05, name
    for name in ("also_uniform", "rgd"):
        assert rows[name]["difference_mean"] < min(rows[arm]["difference_mean"] for arm in sure) / 2, name


@pytest.mark.slow
def test_on_a_long_tail_adjusted_logits_are_ahead_of_weights(tmp_path: Path) -> None:
    rows = compare(tmp_path, "longtail_50", ("erm_balanced", "importance", "rgd", "logit_adjusted"))
    assert rows["logit_adjusted"]["wins"] >= NUM_SEEDS - 1
    assert rows["logit_adjusted"]["mean"] > max(rows[arm]["mean"] for arm in ("erm_balanced", "importance"))
    assert rows["rgd"]["difference_mean"] < rows["erm_balanced"]["difference_mean"]


@pytest.mark.slow
def test_a_model_that_underfits_gains_from_weights_of_losses(tmp_path: Path) -> None:
    blind = ("cvar", "tilted", "focal", "rgd_normalized")
    rows = compare(tmp_path, "longtail_20_linear", (*blind, "rgd", "importance", "logit_adjusted"))
    for name in (*blind, "importance", "logit_adjusted"):
        assert rows[name]["wins"] >= NUM_SEEDS - 1, name
    # What knows the classes is ahead of what sees the losses alone.
    assert rows["importance"]["mean"] > max(rows[name]["mean"] for name in (*blind, "rgd"))
