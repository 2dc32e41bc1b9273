"""`recipe` as a user meets it: real runs in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from framework.__main__ import main
from framework.run_folder import read_environments, read_status
from tests.processes import command, weights
from tests.tiny import comparable, write

pytestmark = pytest.mark.usefixtures("fork_server")

Recipe = Callable[..., tuple[int, str, str]]
TEXT = """\
name: twice
overrides: [policy=erm]
phases:
  identify:
    conf: tiny.yaml
    overrides: [train.steps=6]
    makes:
      - {name: errors, checkpoint: latest}
      - name: losses
  again:
    conf: tiny.yaml
    overrides:
      - data.sampling.name=repeated
      - data.sampling.up_weight=4
    takes:
      data.sampling.path: identify.errors
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipe:
    """Call the verb in a folder that has the recipe and its run file; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    Path("twice.yaml").write_text(TEXT)

    def recipe(*words: str) -> tuple[int, str, str]:
        code = main(["recipe", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return recipe


def test_phases_run_and_hand_on(recipe: Recipe) -> None:
    code, out, err = recipe("conf=twice.yaml", "again:train.steps=8")
    assert code == 0, out + err
    folder = Path("runs/tiny/twice")
    errors = np.load(folder / "identify" / "artifacts" / "errors.npy")
    losses = np.load(folder / "identify" / "artifacts" / "losses.npy")
    assert f"errors.npy: {errors.sum()} of {len(errors)} training samples are misclassified at step 6" in out
    assert losses[errors == 1].mean() > losses[errors == 0].mean()
    # The second run is what a user gets who writes the same by hand.
    path = f"data.sampling.path={folder}/identify/artifacts/errors.npy"
    words = ["policy=erm", "data.sampling.name=repeated", "data.sampling.up_weight=4", path, "train.steps=8"]
    assert main(["conf=tiny.yaml", *words, "run.dir=alone"]) == 0
    assert comparable(Path("alone/metrics.jsonl")) == comparable(folder / "again" / "metrics.jsonl")
    finals = [
        next(
            r for r in comparable(folder / phase / "metrics.jsonl") if r.get("final") and r["split"] == "test"
        )
        for phase in ("identify", "again")
    ]
    row = next(line.split() for line in out.splitlines() if line.startswith("accuracy "))
    assert row[1:3] == [f"{final['accuracy']:.4f}" for final in finals]
    assert row[0] in (folder / "recipe.md").read_text()

    # Started again it has nothing to do; with other values it is another recipe.
    code, out, _ = recipe("conf=twice.yaml", "again:train.steps=8")
    assert code == 0
    assert out.count("finished before") == 4
    assert len(read_environments(folder / "identify")) == 1
    code, _, err = recipe("conf=twice.yaml", "again:train.steps=8", "identify:optimizer.lr=0.2")
    assert code == 2
    assert "identify: optimizer.lr: 0.1 there, 0.2 now" in err
    Path("twice.yaml").write_text(TEXT.replace("latest", "best"))
    code, _, err = recipe("conf=twice.yaml", "again:train.steps=8")
    assert code == 2
    assert '"checkpoint": "best"' in err


@pytest.mark.parametrize(
    "places", [["again"], pytest.param(["identify", "between", "again"], marks=pytest.mark.slow)], ids=len
)
def test_killed_in_and_between_phases_it_comes_to_the_same_end(places: list[str], recipe: Recipe) -> None:
    words = ["conf=twice.yaml", "identify:train.steps=60", "again:train.steps=120", "evaluate.every_epochs=4"]
    identify, again = Path("killed/identify"), Path("killed/again")

    def kill(process: BaseProcess, run: Path) -> None:
        """Nobody has time to save anything."""
        process.kill()
        content = json.loads((run / "status.json").read_text())
        if content["state"] == "running":
            os.kill(content["pid"], signal.SIGKILL)
        process.join()

    for place in places:
        run = again if place == "again" else identify
        process = command("recipe", *words, "out=killed")
        if place == "between":
            wait_for(lambda: state(identify) == "finished")
        else:
            wait_for(lambda run=run: state(run) == "running" and (run / "checkpoints" / "latest").exists())
        kill(process, run)
    code, out, err = recipe(*words, "out=killed")
    assert code == 0, out + err
    assert len(read_environments(again)) == 2
    assert recipe(*words, "out=whole")[0] == 0
    for name in ("identify", "again"):
        whole = Path("whole", name)
        if name == "identify":
            arrays = [np.load(f"{folder}/artifacts/errors.npy") for folder in (identify, whole)]
            assert np.array_equal(*arrays)
        killed = [*without_paths(Path("killed", name))]
        assert killed == [*without_paths(whole)]
        assert weights(Path("killed", name)) == weights(whole)


def without_paths(folder: Path) -> list[dict[str, object]]:
    return [record for record in comparable(folder / "metrics.jsonl") if record["event"] != "checkpoint"]


def test_a_first_run_without_errors_says_what_to_change(recipe: Recipe) -> None:
    few = "data.transforms=[{name: subsample, splits: [train], count: 20}]"
    words = [few, "identify:train.steps=60", "identify:evaluate.every_epochs=null"]
    code, out, _ = recipe("conf=twice.yaml", *words, "out=x")
    assert code == 1
    failed = next(line for line in out.splitlines() if line.startswith("failed: identify.errors: "))
    assert "is misclassified at step 60, so nothing can be up-weighted: train the first model less" in failed
    assert state(Path("x/identify")) == "finished"
    assert state(Path("x/again")) == "absent"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: twice", "nme: twice", "unknown key; did you mean name?"),
        ("phases:\n", "phasess:\n", "unknown key; did you mean phases?"),
        ("    makes:", "    make:", "unknown key; did you mean makes?"),
        ("name: errors,", "name: error,", "there is no 'error'; did you mean errors?"),
        ("checkpoint: latest", "checkpont: latest", "unknown key; did you mean checkpoint?"),
        ("checkpoint: latest", "checkpoint: last", "must be 'best' or 'latest'; got \"last\""),
        ("identify.errors", "idenify.errors", "there is no phase 'idenify'; did you mean identify?"),
        ("identify.errors", "identify.error", "phase identify makes no 'error'; did you mean errors?"),
        ("identify.errors", "again.errors", "a phase takes what an earlier one makes"),
        ("identify.errors", "errors", "must be PHASE.ARTIFACT"),
        ("data.sampling.path:", "data.sampling.pth:", "unknown key; did you mean path?"),
        ("train.steps=6", "train.stepps=6", "unknown key; did you mean steps? [identify]"),
        ("policy=erm", "policy=emr", "there is no policy 'emr'; did you mean erm?"),
        (
            "conf: tiny.yaml\n    overrides:\n",
            "conf: tny.yaml\n    overrides:\n",
            "no configuration 'tny.yaml'",
        ),
        ("- name: losses", "- {name: losses, per: token}", "losses per token are those of a language model"),
        ("- name: losses", "- name: policy_state", "policy erm keeps no distribution over groups"),
        ("- name: losses", "- name: errors", "errors is made twice"),
        ("train.steps=6", "seed=3", "has a row per training sample of phase identify"),
        ("train.steps=6", "run.dir=x", "is the recipe's to decide"),
        ("  again:", "  a gain:", "the name must be letters"),
    ],
)
def test_faults_are_found_before_anything_starts(recipe: Recipe, old: str, new: str, message: str) -> None:
    assert old in TEXT
    Path("twice.yaml").write_text(TEXT.replace(old, new, 1))
    code, _, err = recipe("conf=twice.yaml")
    assert code == 2
    assert message in err
    assert "twice.yaml" in err
    assert not Path("runs").exists()


def test_faults_come_together_with_their_places(recipe: Recipe) -> None:
    Path("twice.yaml").write_text(TEXT.replace("up_weight=4", "up_wight=4").replace("steps=6", "stps=6"))
    code, _, err = recipe("conf=twice.yaml", "agan:optimizer.lr=1")
    assert code == 2
    assert "there is no phase 'agan'; did you mean again?" in err
    code, _, err = recipe("conf=twice.yaml", "optimizer.lrr=1")
    assert err.startswith("twice.yaml: 3 problems")
    assert "did you mean up_weight? [again]  (twice.yaml:14)" in err
    assert "did you mean steps? [identify]  (twice.yaml:6)" in err
    assert "did you mean lr?  (command line)" in err
    for words in (["out="], ["threads=0"], ["dry=yes"], ["dry=true", "dry=true"]):
        assert recipe("conf=twice.yaml", *words)[0] == 2
    assert "did you mean recipe/jtt_spurious?" in recipe("conf=recipe/jtt_spurios")[2]
    assert "conf=FILE is missing (available: recipe/" in recipe()[2]


def state(folder: Path) -> str:
    status = read_status(folder)
    return status.state if status is not None else "absent"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
