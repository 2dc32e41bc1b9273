"""`compare` as a user meets it: real runs in processes of their own."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.__main__ import main
from framework.run_folder import read_environments, read_status
from tests.tiny import comparable, write

pytestmark = pytest.mark.usefixtures("fork_server")

Compare = Callable[..., tuple[int, str, str]]
#: seconds that no healthy run comes near
LONG = 200
ARMS = ["policy=erm,group_dro", "train.steps=6"]


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Call the verb in a folder that has the tiny run file; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)

    def compare(*words: str) -> tuple[int, str, str]:
        code = main(["compare", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return compare


def final(folder: Path) -> dict[str, Any]:
    records = comparable(folder / "metrics.jsonl")
    return next(record for record in records if record.get("final") and record["split"] == "test")


def test_arms_and_seeds_are_run_compared_and_saved(compare: Compare) -> None:
    words = ["conf=tiny.yaml", *ARMS, "jobs=2", "out=study"]
    code, out, err = compare(*words, "seeds=2")
    assert code == 0, out + err
    study = Path("study")
    data = json.loads((study / "comparison.json").read_text())
    assert [arm["name"] for arm in data["arms"]] == ["erm", "group_dro"]
    assert (data["metric"], data["split"], data["seeds"], data["paired"]) == (
        "worst_group_accuracy",
        "test",
        [0, 1],
        True,
    )
    runs = {arm: [final(study / arm / f"seed-{seed}") for seed in (0, 1)] for arm in ("erm", "group_dro")}
    row = next(row for row in data["table"] if (row["metric"], row["arm"]) == ("accuracy", "group_dro"))
    ours, theirs = ([record["accuracy"] for record in runs[arm]] for arm in ("group_dro", "erm"))
    assert row["mean"] == pytest.approx(sum(ours) / 2)
    assert row["difference_mean"] == pytest.approx((sum(ours) - sum(theirs)) / 2)
    assert data["arms"][0]["runs"][1]["groups"] == runs["erm"][1]["groups"]
    assert "seed=1" in data["arms"][0]["runs"][1]["command"]
    assert data["arms"][0]["runs"][0]["costs"]["peak_memory_bytes"] > 2**20
    assert "group_dro" in (study / "comparison.md").read_text()
    with (study / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["mean"]) == data["table"][0]["mean"]
    assert "Wilcoxon's signed-rank test is left out" in out
    assert all(line == line.rstrip() for line in out.splitlines())

    # The same command goes on; another seed is added, what is finished is left alone.
    code, out, err = compare(*words, "seeds=3")
    assert code == 0, out + err
    assert out.count("finished before") == 4
    assert len(read_environments(study / "erm" / "seed-0")) == 1
    assert len(json.loads((study / "comparison.json").read_text())["arms"][0]["runs"]) == 3

    # What was looked at stays in; what is another run is not mixed in.
    code, _, err = compare(*words, "seeds=2")
    assert code == 2
    assert "seed 2 is there and not used now" in err
    code, _, err = compare(*words, "seeds=3", "optimizer.lr=0.2")
    assert code == 2
    assert "optimizer.lr: 0.1 there, 0.2 now" in err
    assert "choose another study=NAME" in err

    # A file that somebody edited is told, not taken for another study.
    written = (study / "study.json").read_text()
    for key, value in (("arms", []), ("seeds", 3), ("seeds", None)):
        (study / "study.json").write_text(json.dumps({**json.loads(written), key: value}))
        code, _, err = compare(*words, "seeds=3")
        assert code == 2
        assert "study.json does not say what a study is" in err
    (study / "study.json").write_text(written)

    # The same from the run folders: arms by what differs, the first one is the one to compare with.
    folders = [str(study / arm / f"seed-{seed}") for arm in ("erm", "group_dro") for seed in range(3)]
    code, _, err = compare(*folders, "out=again")
    assert code == 0, err
    table = json.loads(Path("again/comparison.json").read_text())["table"]
    assert table == json.loads((study / "comparison.json").read_text())["table"]
    code, out, _ = compare(*folders[:2], *folders[5:])
    assert code == 0
    assert "Welch" in out
    assert compare(folders[0], folders[0])[0] == 2


def test_a_failed_run_leaves_the_others_alone(compare: Compare) -> None:
    code, out, _ = compare(
        "conf=tiny.yaml",
        "optimizer.lr=0.1,1e30",
        "train.steps=6",
        "train.max_skipped=0",
        "seeds=2",
        "out=a folder, it's new",
    )
    assert code == 1
    failed = [line for line in out.splitlines() if line.startswith("failed: lr=1e+30, seed 1")]
    assert "not finite" in failed[0]
    log = Path(failed[0].partition("(see ")[2].rstrip(")"))
    assert "not finite" in log.read_text()
    assert "no results of this arm" in out
    arms = json.loads(Path("a folder, it's new/comparison.json").read_text())["arms"]
    assert [len(arm["runs"]) for arm in arms] == [2, 0]
    assert set(arms[1]["missing"]) == {"0", "1"}


def test_every_arm_has_the_same_budget(compare: Compare) -> None:
    words = ["policy=erm,rgd", "train.steps=6", "tune.optimizer.lr=0.0001,0.5", "seeds=2", "jobs=3", "out=s"]
    code, out, err = compare("conf=tiny.yaml", *words)
    assert code == 0, out + err
    assert "2 candidates on seed 0" in out
    for arm in json.loads(Path("s/comparison.json").read_text())["arms"]:
        folder = Path("s", arm["name"])
        values = {tried["name"]: tried["selection"] for tried in arm["tried"]}
        best = {
            name: max(
                record["worst_group_accuracy"]
                for record in comparable(
                    Path("s") / arm["name"] / name.replace("=", "-") / "seed-0" / "metrics.jsonl"
                )
                if record["event"] == "evaluation" and record["split"] == "validation"
            )
            for name in values
        }
        assert values == best
        assert arm["chosen"] == max(values, key=lambda name: (values[name], name == "lr=0.0001"))
        assert {Path(run["folder"]).parent.name for run in arm["runs"]} == {arm["chosen"].replace("=", "-")}
        other = next(name for name in values if name != arm["chosen"])
        assert not (folder / other.replace("=", "-") / "seed-1").exists()


def test_all_faults_before_anything_starts(compare: Compare, tmp_path: Path) -> None:
    code, _, err = compare("conf=tiny.yaml", "policy=erm,rdg", "optimizer.lrr=1", "seeds=2")
    assert code == 2
    assert "did you mean rgd?" in err
    assert "did you mean lr?" in err
    assert compare("conf=tiny.yaml", "policy=erm,rgd", "policy.clip=2")[2].count("[erm]") == 1
    assert "the same value is given twice" in compare("conf=tiny.yaml", "optimizer.lr=0.1,1e-1")[2]
    assert "are the same configuration" in compare("conf=tiny.yaml", "reporting=quiet,console")[2]
    code, out, _ = compare("conf=tiny.yaml", "policy=erm,rgd", "seeds=[3,7]", "dry=true")
    assert code == 0
    assert [line.split()[5] for line in out.splitlines()] == ["seed=3", "seed=3", "seed=7", "seed=7"]
    for words in (["seeds=0"], ["seeds=[1,1]"], ["jobs=0"], ["study=a/b"], ["study=a", "out=b"], ["dry=yes"]):
        code, _, err = compare("conf=tiny.yaml", "policy=erm,rgd", *words)
        assert code == 2, words
    assert compare("nowhere")[2] == "error: nowhere is not a run folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_killed_and_interrupted_it_goes_on(compare: Compare) -> None:
    """The numbers are those of a comparison that nobody stopped, made with other `jobs`."""
    words = [
        "conf=tiny.yaml",
        "policy=erm,group_dro",
        "train.steps=400",
        "seeds=1",
        "evaluate.every_epochs=10",
    ]
    folders = [Path("stopped") / arm / "seed-0" for arm in ("erm", "group_dro")]
    command = [sys.executable, "-m", "framework", "compare", *words, "jobs=2", "out=stopped"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    wait_for(lambda: all(state(folder) == "running" for folder in folders))
    process.kill()
    process.wait()
    # It cannot wait for its runs: they see that it is gone, save and end.
    wait_for(lambda: all(state(folder) == "interrupted" for folder in folders))

    def interrupt() -> None:
        wait_for(lambda: all(state(folder) == "running" for folder in folders))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, out, _ = compare(*words, "jobs=2", "out=stopped")
    thread.join()
    assert code == 75
    assert "the same command goes on" in out
    assert [state(folder) for folder in folders] == ["interrupted", "interrupted"]
    assert compare(*words, "jobs=1", "out=stopped")[0] == 0
    assert compare(*words, "jobs=2", "out=whole")[0] == 0
    for folder in folders:
        assert len(read_environments(folder)) == 3
        whole = Path("whole", *folder.parts[1:])
        stopped_records, records = (
            [record for record in comparable(each / "metrics.jsonl") if record["event"] != "checkpoint"]
            for each in (folder, whole)
        )
        assert stopped_records == records


def state(folder: Path) -> str:
    status = read_status(folder)
    return status.state if status is not None else "absent"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
