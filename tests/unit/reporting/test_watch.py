"""A run followed through its folder while it is written."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from framework.__main__ import main
from framework.reporting.tail import Tail
from framework.reporting.watch import RunReader, render, sparkline, state_of
from framework.run_folder.lock import Lock
from framework.run_folder.status import Status
from tests.tiny import write


def record(**values: object) -> str:
    return json.dumps(values) + "\n"


def test_a_tail_reads_what_is_complete(tmp_path: Path) -> None:
    tail, path = Tail(tmp_path), tmp_path / "metrics.jsonl"
    assert tail.read() == []
    first, second = record(event="train", step=1, loss="NaN"), record(event="train", step=2, loss=0.5)
    path.write_text(first + second[:9])
    (only,) = tail.read()
    assert math.isnan(only["loss"])
    path.write_text(first + second + "[3]\nno record\n")
    assert [each["step"] for each in tail.read()] == [2]
    assert not tail.restarted
    # A run that goes on from a checkpoint replaces the file by a shorter one.
    path.with_name("new").write_text(first)
    path.with_name("new").replace(path)
    assert [each["step"] for each in tail.read()] == [1]
    assert tail.restarted


def test_a_sparkline_averages_what_does_not_fit() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([1, math.nan, 2], 3) == "▁ █"
    assert sparkline([3, 3], 5) == "▁▁"
    assert sparkline([math.inf], 5) == " "
    assert sparkline([], 5) == ""


def test_the_state_tells_the_living_from_the_killed(tmp_path: Path) -> None:
    assert state_of(tmp_path) == "not begun"
    lock = Lock(tmp_path)
    assert state_of(tmp_path) == "starting"
    Status("running").write(tmp_path)
    assert state_of(tmp_path) == "running"
    lock.release()
    assert state_of(tmp_path) == "killed"
    Status("failed", 3, "no space").write(tmp_path)
    assert state_of(tmp_path) == "failed: no space"
    Status("finished", 3).write(tmp_path)
    assert state_of(tmp_path) == "finished"


def test_pace_counts_from_the_newest_start(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        record(event="run", step=0, num_steps=100, maximize=[])
        + record(event="train", step=10, loss=2.0, elapsed_seconds=1000.0)
        + record(event="checkpoint", step=20)
        + record(event="run", step=20, num_steps=100, maximize=[])
        + record(event="train", step=40, loss=1.0, elapsed_seconds=40.0)
    )
    view = RunReader(tmp_path).look()
    assert (view.step, view.checkpoint, view.eta) == (40, 20, "2:00")
    assert view.curves == {"train loss": [2.0, 1.0]}


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_real_run_fits_every_terminal(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    words = ["conf=tiny.yaml", "policy=group_dro", "evaluate.every_steps=3", "log.every_steps=2"]
    assert main([*words, "run.dir=a run"]) == 0
    capsys.readouterr()
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    console.print(render(RunReader(Path("a run")).look(), state_of(Path("a run")), console, max_groups=5))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in (
        "finished",
        "step 12/12",
        "100%",
        "train loss",
        "last checkpoint: step 12",
        "policy state q",
    ):
        assert part in text
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["watch", "a run", "--once"]) == 0
    printed = capsys.readouterr().out
    assert "validation worst group" in printed
    assert all(line == line.rstrip() and len(line) <= width for line in printed.splitlines())


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path)]) == 2
    assert main(["watch"]) == 2
    assert main(["watch", str(tmp_path), "conf=x"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
