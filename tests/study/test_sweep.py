"""`sweep` as a user meets it: real runs in processes of their own."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.__main__ import main
from framework.run_folder import read_environments, read_status
from framework.study.sweep.trials import Attempt, Trials
from tests import postgresql
from tests.processes import command, finish
from tests.tiny import comparable, write

pytestmark = pytest.mark.usefixtures("fork_server")

Sweep = Callable[..., tuple[int, str, str]]
SPACE = ["optimizer.lr=log(1e-3,1)", "model.hidden=choice([8],[16])"]
SHORT = ["train.steps=12", "select.metric=accuracy"]
LONG = ["train.steps=400", "evaluate.every_epochs=5", "select.metric=accuracy"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweep:
    """Call the verb in a folder that has the tiny run file; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)

    def sweep(*words: str) -> tuple[int, str, str]:
        code = main(["sweep", "conf=tiny.yaml", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return sweep


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def evaluations(run: Path) -> list[dict[str, Any]]:
    return [record for record in comparable(run / "metrics.jsonl") if record["event"] == "evaluation"]


def test_the_best_is_found_written_and_measured_once(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SPACE, *SHORT, "jobs=2", "out=s"]
    code, out, err = sweep(*words, "trials=3")
    assert code == 0, out + err
    rows = trials(Path("s"))
    assert [(row["trial"], row["state"]) for row in rows] == [(str(k), "complete") for k in range(3)]
    values = {}
    for row in rows:
        records = evaluations(Path("s", row["folder"]))
        during = [record["accuracy"] for record in records if not record.get("final")]
        values[row["trial"]] = max(during)
        assert float(row["accuracy"]) == max(during)
    best = max(rows, key=lambda row: (values[row["trial"]], -int(row["trial"])))
    content = json.loads(Path("s/sweep.json").read_text())
    assert str(content["best"]["number"]) == best["trial"]
    assert f"Trial {best['trial']} is the best of 3" in out

    # Only the chosen one was measured on test.
    measured = {
        row["trial"]: [r["split"] for r in evaluations(Path("s", row["folder"])) if r.get("final")]
        for row in rows
    }
    assert {trial for trial, splits in measured.items() if "test" in splits} == {best["trial"]}
    assert all(splits[0] == "validation" for splits in measured.values())

    # Its file trains to the very same numbers, test included.
    header = Path("s/best.yaml").read_text().splitlines()[:4]
    assert all(line.startswith("# ") for line in header)
    assert f"trial {best['trial']}." in header[0]
    assert str(float(best["accuracy"])) in header[1]
    assert main(["conf=s/best.yaml", "run.dir=again"]) == 0
    ours, again = evaluations(Path("s", best["folder"])), evaluations(Path("again"))
    assert ours == again
    assert content["best"]["finals"]["test"]["0"]["accuracy"] == again[-1]["accuracy"]

    # Again it has nothing to do; more trials are added; what was another sweep is refused.
    code, out, _ = sweep(*words, "trials=3")
    assert code == 0
    assert "0 of 3 trials to go" in out
    assert len(evaluations(Path("s", best["folder"]))) == len(ours)
    code, out, _ = sweep(*words, "trials=4", "sampler=random")
    assert code == 0
    assert trials(Path("s"))[:3] == rows
    assert len(trials(Path("s"))) == 4
    code, _, err = sweep(*SPACE, SHORT[1], "out=s", "trials=4", "train.steps=13")
    assert code == 2
    assert "train.steps: 12 there, 13 now" in err
    assert "study=NAME" in err
    code, _, err = sweep(*words, "trials=4", "storage=journal:j")
    assert code == 2
    assert "are kept in trials.db" in err
    capsys.readouterr()
    assert main(["report", "s"]) == 0
    page = Path("s/report.html").read_text()
    assert "which no trial was chosen by" in page
    assert f"trial {best['trial']}" in page


def test_seeds_are_averaged_and_failures_are_told(sweep: Sweep) -> None:
    space = "optimizer.lr=choice(0.1,1e30)"
    code, out, err = sweep(space, *SHORT, "train.max_skipped=0", "seeds=2", "sampler=grid", "out=s")
    assert code == 0, out + err
    good, bad = sorted(trials(Path("s")), key=lambda row: row["state"])
    assert float(good["accuracy"]) == pytest.approx((float(good["seed 0"]) + float(good["seed 1"])) / 2)
    assert bad["state"] == "failed"
    assert "not finite" in bad["reason"]
    assert "1 complete" in out
    assert "1 failed" in out
    content = json.loads(Path("s/sweep.json").read_text())
    assert content["best"]["finals"]["test"].keys() == {"0", "1"}
    assert "over 2 seeds" in content["verdicts"][1]


def test_hopeless_trials_are_stopped_early(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(self: Trials, attempt: Attempt, evaluation: int, value: float) -> bool:
        return attempt.parameters["train.steps"] == "20000" and evaluation >= 2

    monkeypatch.setattr(Trials, "report", report)
    words = ["train.steps=choice(6,20000)", "evaluate.every_steps=10", "select.metric=accuracy"]
    code, out, err = sweep(*words, "sampler=grid", "jobs=1", "out=s")
    assert code == 0, out + err
    rows = {row["train.steps"]: row for row in trials(Path("s"))}
    assert [rows[steps]["state"] for steps in ("6", "20000")] == ["complete", "pruned"]
    status = read_status(Path("s", rows["20000"]["folder"]))
    assert status is not None
    assert status.state == "interrupted"
    assert 10 <= status.step < 20000
    assert rows["20000"]["accuracy"] == ""
    assert "1 pruned" in out


def test_killed_and_interrupted_it_goes_on_as_if_nothing_had_happened(sweep: Sweep) -> None:
    words = ["optimizer.lr=log(1e-3,1)", *LONG, "trials=2", "jobs=1", "pruner=none"]
    run = Path("stopped/trial-0000/seed-0")
    process = command("sweep", "conf=tiny.yaml", *words, "out=stopped")
    wait_for(lambda: state(run) == "running")
    process.kill()
    process.join()
    # It cannot wait for its run, which sees that it is gone, saves and ends.
    wait_for(lambda: state(run) == "interrupted")

    def interrupt() -> None:
        wait_for(lambda: state(run) == "running")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, out, _ = sweep(*words, "out=stopped")
    thread.join()
    assert code == 75
    assert "the same command goes on" in out
    assert state(run) == "interrupted"
    assert sweep(*words, "out=stopped")[0] == 0
    assert sweep(*words, "out=whole")[0] == 0
    assert len(read_environments(run)) == 3
    keep = ("trial", "state", "accuracy", "optimizer.lr", "folder")
    stopped, whole = (
        [{key: row[key] for key in keep} for row in trials(Path(folder))] for folder in ("stopped", "whole")
    )
    assert stopped == whole
    for row in stopped:
        assert evaluations(Path("stopped", row["folder"])) == evaluations(Path("whole", row["folder"]))


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    if request.param == "sqlite":
        yield []
        return
    if not postgresql.FOLDERS:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    with postgresql.server() as url:
        yield [f"storage={url}"]


def test_several_commands_share_the_work(sweep: Sweep, storage: list[str]) -> None:
    words = [*SPACE, *SHORT, "trials=6", "jobs=1", "pruner=none", "out=s", *storage]
    processes = [command("sweep", "conf=tiny.yaml", *words) for _ in range(2)]
    assert [finish(process) for process in processes] == [0, 0]
    rows = trials(Path("s"))
    assert [int(row["trial"]) for row in rows] == list(range(6))
    assert {row["state"] for row in rows} == {"complete"}
    assert len({row["optimizer.lr"] for row in rows}) == 6
    assert len(list(Path("s").glob("trial-*"))) == 6
    # None was run twice, and both had a share.
    assert all(len(read_environments(Path("s", row["folder"]))) == 1 for row in rows)


def test_all_faults_before_anything_starts(sweep: Sweep, tmp_path: Path) -> None:
    code, _, err = sweep(
        "optimizer.lr=lgo(1,2)", "modle.hidden=choice([1],[2])", "train.steps=int(9,3)", "seed=int(1,2)",
        "policy=erm,rgd", "trials=0", "sampler=tpee", "pruner=medain",
    )  # fmt: skip
    assert code == 2
    for words in (
        "did you mean log?", "did you mean model?", "must be less than", "chooses the seeds",
        "policy=choice(erm,rgd)", "must be a whole number", "did you mean tpe?", "did you mean median?",
    ):  # fmt: skip
        assert words in err, words
    # Each end of a range and each choice is validated in the configuration.
    code, _, err = sweep(
        "optimizer.lrr=log(1,2)", "optimizer.momentum=uniform(-1,0.5)", "policy=choice(erm,rdg)"
    )
    assert code == 2
    assert "did you mean lr?" in err
    assert "optimizer.momentum" in err
    assert "did you mean rgd?" in err
    assert sweep("optimizer.lr=log(1,2)", "sampler=grid")[2].count("a grid needs choice") == 1
    assert "nothing to search" in sweep()[2]
    assert "did you mean rgd?" in sweep("space=rgdd")[2]
    code, out, _ = sweep("space=rgd", "policy=rgd", "policy.clip=2", "batch.size=choice(16,32)", "dry=true")
    assert code == 0
    assert out.splitlines() == [
        "50 trials for the largest worst_group_accuracy on validation, in runs/tiny/sweep-default:",
        "  optimizer.lr=log(0.0001,0.1)",
        "  batch.size=choice(16,32)",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_finished_run_is_evaluated_once(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conf=tiny.yaml", "evaluate.final=[validation]", "run.dir=run"]) == 0
    assert main(["conf=tiny.yaml", "run.dir=whole"]) == 0
    capsys.readouterr()
    for _ in range(2):
        assert main(["evaluate", "run"]) == 0
        assert "worst group" in capsys.readouterr().out
    assert evaluations(Path("run")) == evaluations(Path("whole"))
    assert main(["evaluate", "run", "split=train"]) == 0
    assert evaluations(Path("run"))[-1]["split"] == "train"
    assert main(["evaluate", "run", "split=tset"]) == 2
    assert "did you mean test?" in capsys.readouterr().err
    assert main(["evaluate", "nowhere"]) == 2


def state(folder: Path) -> str:
    status = read_status(folder)
    return status.state if status is not None else "absent"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
