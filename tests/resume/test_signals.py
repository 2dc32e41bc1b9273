"""A run that a signal stops, and that is started again, is the run that was never stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from framework.checkpoint import saver
from framework.run_folder import read_status
from tests.processes import LONG, finish, output, run, start, weights
from tests.tiny import comparable
from tests.triggers import Action, Signals

COMMON = [
    "policy=also",
    "policy.pi_lr=0.5",
    "optimizer=adam",
    "optimizer.lr=0.01",
    "train.steps=18",
    "evaluate.every_epochs=null",
    "evaluate.every_steps=6",
    "evaluate.batch_size=32",
    "checkpoint.every_epochs=null",
    "checkpoint.every_steps=9",
    "log.every_steps=4",
]
#: where the signal comes, and the step whose checkpoint must be there afterwards
PLACES = {
    "training": ("losses", 7, 8),
    "evaluation": ("measuring", 12, 12),
    "checkpoint": ("saving", 9, 9),
    "last evaluation": ("measuring", 18, 18),
    "before the first step": ("start", 0, 0),
}


def records(folder: Path) -> list[dict[str, Any]]:
    """What the run measured; a stop adds checkpoints, which measure nothing."""
    return [r for r in comparable(folder / "metrics.jsonl") if r["event"] != "checkpoint"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(folder, COMMON) == 0
    return folder


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("SIGTERM", "training"),
        ("SIGTERM", "evaluation"),
        ("SIGTERM", "checkpoint"),
        ("SIGINT", "training"),
        ("SIGINT", "last evaluation"),
        ("SIGUSR1", "evaluation"),
        ("SIGUSR1", "before the first step"),
    ],
)
def test_a_stop_and_a_start_change_nothing(name: str, place: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    where, at, saved = PLACES[place]
    assert run(folder, COMMON, {(where, at): Signals(name)}) == 75
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.step, status.reason) == ("interrupted", saved, name)
    assert (folder / "checkpoints" / "latest").read_text() == f"step-{saved:08d}\n"
    assert f"stopped by {name} at step {saved}" in output(folder)
    assert run(folder, COMMON) == 0
    assert records(folder) == records(whole)
    assert weights(folder) == weights(whole)


class DeadDisk:
    """From here on no checkpoint gets written, and none fails."""

    def __call__(self, *_: Any) -> None:
        saver.write_share = _never  # type: ignore[attr-defined]


def _never(*_: Any) -> None:
    threading.Event().wait()


@pytest.mark.parametrize("published", [True, False], ids=["published", "being written"])
def test_a_second_interrupt_does_not_wait(published: bool, whole: Path, tmp_path: Path) -> None:
    """What was published stays; a checkpoint that is being written is not awaited."""
    folder = tmp_path / "run"
    twice = Signals("SIGINT", "SIGINT")
    if published:
        ended = run(folder, [*COMMON, "checkpoint.asynchronous=false"], {("losses", 10): twice})
    else:
        ended = run(folder, COMMON, {("step", 9): DeadDisk(), ("losses", 10): twice})
    assert ended == 130
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.step) == ("failed", 10)
    assert "Traceback" not in output(folder)
    newest = 9 if published else 6
    assert (folder / "checkpoints" / "latest").read_text() == f"step-{newest:08d}\n"
    if not published:
        assert run(folder, COMMON) == 0
        assert records(folder) == records(whole)
        assert weights(folder) == weights(whole)


def test_a_second_request_to_end_still_saves(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(folder, COMMON, {("losses", 10): Signals("SIGTERM", "SIGTERM", "SIGUSR1")}) == 75
    assert (folder / "checkpoints" / "latest").read_text() == "step-00000011\n"


class GroupSignal:
    """A signal to the process and everything it started, as a terminal or a scheduler sends it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> None:
        note_children()
        os.killpg(0, signal.Signals[self.name])
        # The signal reaches the children while a batch is awaited from them, not after it.
        time.sleep(0.05)


def note_children() -> None:
    """Write down the processes of this group."""
    here = os.getpgid(0)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == here:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    print(json.dumps({"group": found}), flush=True)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_workers_outlive_a_signal_to_the_group(name: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    action: Action = GroupSignal(name)
    process = start(folder, [*COMMON, "data.workers=2"], {("losses", 7): action})
    assert finish(process) == 75
    text = output(folder)
    assert "died" not in text
    group = json.loads(next(line for line in text.splitlines() if line.startswith('{"group"')))["group"]
    assert len(group) >= 3
    wait_until_gone(group)
    assert (folder / "checkpoints" / "latest").read_text() == "step-00000008\n"
    assert run(folder, [*COMMON, "data.workers=2"]) == 0
    assert records(folder) == records(whole)
    assert weights(folder) == weights(whole)


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.01)
    raise AssertionError(f"processes that outlived the run: {[pid for pid in pids if alive(pid)]}")


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
