"""Runs in processes of their own: what a study that ends before them leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.run_folder import read_status
from framework.study.grid import Choice
from framework.study.job import Outcome
from framework.study.processes import Processes, Stop, _outcome
from framework.study.run_jobs import run_jobs
from framework.study.trial import Trial, run_trial
from tests.tiny import write

pytestmark = pytest.mark.usefixtures("fork_server")


class Silent:
    """A watcher that nobody looks at."""

    def started(self, job: Trial) -> None:
        pass

    def ended(self, job: Trial, outcome: Outcome) -> None:
        pass

    def tick(self, running: Iterable[Trial]) -> None:
        pass


def endless(conf: Path, folder: Path) -> Trial:
    """A run that does not end by itself while a test looks on."""
    words = ["train.steps=10000000", "evaluate.every_epochs=null", "checkpoint.every_epochs=null"]
    nothing = Choice("", ())
    return run_trial(str(write(conf)), words, nothing, nothing, 0, folder)


def test_an_error_lets_no_run_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    going, blocked = endless(tmp_path, tmp_path / "going"), endless(tmp_path, tmp_path / "file" / "blocked")
    with pytest.raises(UserError, match=r"log-blocked.txt cannot be written"):
        run_jobs([[going], [blocked]], jobs=2, threads=1, watcher=Silent(), stop=Stop())
    assert multiprocessing.active_children() == []
    status = read_status(going.folder)
    assert status is None or status.state == "interrupted"


def test_a_second_signal_is_one_that_a_run_does_not_save_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    processes: Processes[Trial] = Processes(1)
    job = endless(tmp_path, tmp_path / "run")
    process = multiprocessing.get_context("spawn").Process()
    monkeypatch.setattr(type(process), "pid", 1)
    processes._running[process] = job
    processes.stop(job)
    processes.stop(job, save=False)
    assert sent == [signal.SIGTERM, signal.SIGINT]
    assert _outcome(job, 130) == Outcome("interrupted", "stopped by a second signal, not saved")


def test_a_log_that_is_gone_hides_no_failure(tmp_path: Path) -> None:
    outcome = _outcome(endless(tmp_path, tmp_path / "run"), 1)
    assert outcome.state == "failed"
    assert "exit code 1" in outcome.reason
    assert "No such file" in outcome.reason
