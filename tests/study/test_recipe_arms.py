"""A recipe as an arm of `compare`: phases of real runs beside a plain one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.__main__ import main
from framework.run_folder import read_environments, read_status
from tests.tiny import comparable, write

Verb = Callable[..., tuple[int, str, str]]
#: what a phase is a run of is the comparison's to say
RECIPE = """\
name: twice
overrides: [policy=erm]
phases:
  identify:
    conf: digits_spurious
    overrides: [train.steps=6]
    makes: [{name: errors}]
  again:
    conf: digits_spurious
    overrides: [data.sampling.name=repeated, data.sampling.up_weight=4]
    takes: {data.sampling.path: identify.errors}
"""
LAYER = """\
name: layer
phases:
  features:
    conf: digits_spurious
    makes: [{name: last_layer, num_retrains: 1}]
  retrained:
    conf: digits_spurious
    takes: {resume: features.last_layer}
"""
ARMS = """\
plain: [policy=erm]
twice:
  recipe: twice.yaml
  overrides: [again:train.steps=1500, again:data.sampling.up_weight=2]
"""


@pytest.fixture
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Call the program in a folder that has the files above; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    for name, text in {"twice": RECIPE, "layer": LAYER, "arms": ARMS}.items():
        Path(f"{name}.yaml").write_text(text)

    def call(*words: str) -> tuple[int, str, str]:
        code = main([*words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def compare(verb: Verb, *words: str) -> tuple[int, str, str]:
    return verb("compare", "conf=tiny.yaml", "arms=arms.yaml", *words)


def records(folder: Path) -> list[dict[str, Any]]:
    return [record for record in comparable(folder / "metrics.jsonl") if record["event"] != "checkpoint"]


def test_stopped_in_a_phase_it_goes_on_to_the_numbers_of_the_recipe_alone(verb: Verb) -> None:
    words = ["seeds=[3]", "train.steps=20", "evaluate.every_epochs=10", "jobs=2", "out=study"]
    runs = Path("study/twice/seed-3")

    def interrupt() -> None:
        deadline = time.monotonic() + 200
        while (status := read_status(runs / "again")) is None or status.state != "running":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, out, _ = compare(verb, *words)
    thread.join()
    assert code == 75
    assert "twice, seed 3, identify: finished" in out
    code, out, err = compare(verb, *words)
    assert code == 0, out + err
    assert "twice, seed 3, identify.errors: finished before" in out
    assert "twice takes 2 runs for each seed and candidate (identify, again)" in out
    assert len(read_environments(runs / "again")) == 2

    # The same by hand: the comparison's words go under the recipe's, the arm's over them.
    Path("twice.yaml").write_text(RECIPE.replace("digits_spurious", "tiny.yaml"))
    changes = ["again:data.sampling.up_weight=2", "again:train.steps=1500", *words[2:3], "seed=3"]
    assert verb("recipe", "conf=twice.yaml", *changes, "out=alone")[0] == 0
    for phase in ("identify", "again"):
        assert records(runs / phase) == records(Path("alone", phase))

    plain, twice = json.loads(Path("study/comparison.json").read_text())["arms"]
    assert twice["recipe"] == "twice.yaml"
    assert [arm["runs"][0]["costs"]["runs"] for arm in (plain, twice)] == [1, 2]
    seconds = [
        start["seconds"] for phase in ("identify", "again") for start in read_environments(runs / phase)
    ]
    assert twice["runs"][0]["costs"]["seconds"] == pytest.approx(sum(seconds))
    final = next(r for r in records(runs / "again") if r.get("final") and r["split"] == "test")
    assert twice["runs"][0]["metrics"]["accuracy"] == final["accuracy"]
    assert "| runs |" in Path("study/comparison.md").read_text()

    # Another recipe in the same folder is another study.
    Path("twice.yaml").write_text(RECIPE.replace("name: errors", "name: errors, checkpoint: best"))
    code, _, err = compare(verb, *words)
    assert code == 2
    assert "arm twice is there and not compared now" in err
    Path("twice.yaml").write_text(RECIPE.replace("train.steps=6", "train.steps=7"))
    code, _, err = compare(verb, *words)
    assert code == 2
    assert "study/twice/seed-3/identify: train.steps: 6 there, 7 now" in err


def test_each_arm_is_tuned_by_options_of_its_own(verb: Verb) -> None:
    """A last phase that only evaluates is chosen by what the phase before measured on validation."""
    Path("arms.yaml").write_text(
        "plain: {tune: {optimizer.lr: [1.0e-5, 0.1]}}\n"
        "layer: {recipe: layer.yaml, tune: {optimizer.lr: [1.0e-5, 0.1]}}\n"
    )
    code, out, err = compare(verb, "data=digits_spurious", "seeds=1", "jobs=2", "out=s")
    assert code == 0, out + err
    assert "2 candidates on seed 0" in out
    plain, layer = json.loads(Path("s/comparison.json").read_text())["arms"]
    assert [tried["selection"] for tried in plain["tried"]] == [
        tried["selection"] for tried in layer["tried"]
    ]
    assert Path(layer["runs"][0]["folder"]).parts[-3:] == (
        layer["chosen"].replace("=", "-"),
        "seed-0",
        "retrained",
    )
    assert layer["runs"][0]["metrics"]["accuracy"] != plain["runs"][0]["metrics"]["accuracy"]


def test_a_phase_that_fails_leaves_the_other_arms_alone(verb: Verb) -> None:
    few = "data.transforms=[{name: subsample, splits: [train], count: 20}]"
    Path("arms.yaml").write_text(ARMS.replace("again:data.sampling.up_weight=2", "identify:train.steps=60"))
    code, out, _ = compare(verb, few, "evaluate.every_epochs=null", "seeds=1", "jobs=2", "out=s")
    assert code == 1
    failed = next(line for line in out.splitlines() if line.startswith("failed: "))
    assert failed.startswith("failed: twice, seed 0, identify.errors: none of 20 training samples")
    arms = json.loads(Path("s/comparison.json").read_text())["arms"]
    assert [len(arm["runs"]) for arm in arms] == [1, 0]
    assert arms[1]["missing"]["0"].startswith("waiting: twice, seed 0, identify.errors: none of")
    assert read_status(Path("s/twice/seed-0/again")) is None


def test_faults_of_a_recipe_arm_are_found_before_anything_starts(verb: Verb, tmp_path: Path) -> None:
    code, out, _ = compare(verb, "seeds=[7]", "dry=true")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[3] for line in lines] == [
        "conf=tiny.yaml",
        "conf=tiny.yaml",
        "produce",
        "conf=tiny.yaml",
    ]
    assert sum("seed=7" in line for line in lines) == 3
    for old, new, message in (
        ("twice.yaml", "twise.yaml", "no configuration 'twise.yaml'"),
        ("recipe:", "recpie:", "did you mean recipe?"),
        ("again:data", "agan:data", "there is no phase 'agan'; did you mean again?"),
        ("up_weight=2", "up_weight=2, again:optimizer.lrr=1", "did you mean lr? [again] [twice]"),
        ("up_weight=2", "up_weight=2, select.metric=loss", "must be the same for every run"),
    ):
        Path("arms.yaml").write_text(ARMS.replace(old, new))
        code, _, err = compare(verb, "dry=true")
        assert code == 2
        assert message in err
        assert "arms.yaml:" in err
    Path("arms.yaml").write_text(ARMS + "same:\n" + ARMS.partition("twice:\n")[2])
    assert "twice and same are the same configuration" in compare(verb, "dry=true")[2]
    assert not (tmp_path / "runs").exists()
