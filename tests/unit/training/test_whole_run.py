"""Runs of other kinds of data and of plugins, whole, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.__main__ import main
from tests.registrations import rolled_back

ROOT = Path(__file__).parents[3]
HEAD = """
defaults: [base, {model: linear}, {task: classification}, {policy: erm}, {optimizer: sgd},
           {schedule: constant}, {engine: single}, {override reporting: quiet}, _self_]
batch: {size: 16}
run: {dir: run}
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of a user's own, with the example plugins copied into it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins")
    with rolled_back(tmp_path):
        yield


def train(text: str, *overrides: str) -> list[dict[str, Any]]:
    Path("own.yaml").write_text(HEAD + text)
    assert main(["conf=own.yaml", *overrides]) == 0
    return [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]


def table(rows: int = 240) -> None:
    """`y` is a known line of two features, `kind` a category, `z` often missing."""
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, rows))
    lines = ["a,b,kind,z,y,big"]
    for i in range(rows):
        y = 3 * a[i] - 2 * b[i] + 5
        z = "" if i % 3 == 0 else f"{a[i]:.4f}"
        lines.append(f"{a[i]:.6f},{b[i]:.6f},{'pq'[i % 4 == 0]},{z},{y:.6f},{'yes' if y > 5 else 'no'}")
    Path("t.csv").write_text("\n".join(lines) + "\n")


REGRESSION = """
task: {name: regression}
data:
  source: {name: table, path: t.csv, target: y, kind: regression, groups: [kind], drop: [kind, z, big]}
  splits: {stratify: null}
  groups: [kind]
select: {metric: worst_group_loss}
optimizer: {lr: 0.1}
train: {epochs: 25}
"""


@pytest.mark.parametrize("policy", ["erm", "group_dro", "rgd"])
def test_regression(policy: str) -> None:
    table()
    records = train(REGRESSION, f"policy={policy}")
    losses = [r["loss"] for r in records if r["event"] == "train"]
    final = next(r for r in records if r.get("final") and r["split"] == "test")
    assert losses[0] > 1
    assert final["loss"] < 1e-3
    assert {group["name"] for group in final["groups"]} == {"p", "q"}


MISSING = """
data:
  source: {name: table, path: t.csv, target: big, groups: [kind], drop: [y, a]}
  groups: [label, kind]
train: {epochs: 12}
optimizer: {lr: 0.5}
"""


def test_a_table_with_missing_values() -> None:
    table()
    final = [r for r in train(MISSING) if r.get("final") and r["split"] == "test"]
    assert final[0]["accuracy"] > 0.75


def test_a_sample_without_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    table()
    text = Path("t.csv").read_text().replace(",q,", ",,", 1)
    Path("t.csv").write_text(text)
    Path("own.yaml").write_text(HEAD + MISSING)
    assert main(["conf=own.yaml"]) == 2
    error = capsys.readouterr().err
    assert "set data.unknown_group=other" in error
    assert not Path("run").exists()
    assert main(["conf=own.yaml", "data.unknown_group=other"]) == 0


PLUGINS = """
plugins: [two_moons, tail_weighting]
data:
  source: {name: two_moons, n: 300}
  groups: [label, end]
model: {name: mlp, hidden: [16]}
policy: {name: tail_weighting, tail: 0.2}
train: {epochs: 5}
"""
MODEL = """
plugins: [conv_mixer]
data: {source: {name: digits}, groups: [label]}
model: {name: conv_mixer, width: 8, depth: 1, kernel_size: 3}
train: {steps: 4, epochs: null}
evaluate: {final: [validation]}
"""


def test_a_dataset_and_a_policy_of_the_user() -> None:
    head = HEAD.replace("{model: linear}, ", "").replace("{policy: erm}, ", "")
    Path("own.yaml").write_text(head + PLUGINS)
    assert main(["conf=own.yaml"]) == 0
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    final = next(r for r in records if r.get("final"))
    assert {group["name"] for group in final["groups"]} == {
        f"label={label}, end={end}" for label in ("upper", "lower") for end in ("inner", "outer")
    }
    assert final["accuracy"] > 0.7
    largest = [r["largest_weight"] for r in records if r["event"] == "train"]
    # 16 samples, the largest four of which count three times: 3 / (4 * 3 + 12)
    assert largest[0] == pytest.approx(3 / 24, abs=1e-6)


def test_a_model_of_the_user() -> None:
    Path("own.yaml").write_text(HEAD.replace("{model: linear}, ", "") + MODEL)
    assert main(["conf=own.yaml"]) == 0
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert any(r.get("final") for r in records)
