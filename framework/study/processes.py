"""Runs in processes of their own, several at a time; what befalls one leaves the others alone."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Protocol

from framework.errors import EXIT_OK, EXIT_REQUEUE
from framework.files import writing
from framework.run_folder import read_status
from framework.study.plan import Trial

State = Literal["finished", "failed", "interrupted", "waiting"]
_TICK_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `waiting` was never started; `reason` is for a reader."""

    state: State
    reason: str = ""


class Watcher(Protocol):
    """Who is told how the runs go on."""

    def started(self, trial: Trial) -> None:
        """A process begins the run or goes on with it."""

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """It is over; also for one that was complete before."""

    def tick(self, running: Iterable[Trial]) -> None:
        """Some time has passed."""


class Stop:
    """Counts the signals that ask this process to end, in place of ending it."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


def run_trials(
    trials: Iterable[Trial], *, jobs: int, threads: int, watcher: Watcher, stop: Stop
) -> dict[Trial, Outcome]:
    """Bring every run to its end, `jobs` at a time, each with `threads` CPU threads.

    A run that is complete is left alone, an unfinished one goes on. After a signal no run is started; those
    that are going save and end, at a second signal without saving.

    Raises:
        UserError: a folder or log cannot be written.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["framework.study.preload"])
    outcomes: dict[Trial, Outcome] = {}
    waiting: deque[Trial] = deque()
    for trial in trials:
        status = read_status(trial.folder)
        if status is not None and status.complete:
            outcomes[trial] = Outcome("finished")
            watcher.ended(trial, outcomes[trial])
        else:
            waiting.append(trial)
    running: dict[BaseProcess, Trial] = {}
    passed_on = 0
    while running or (waiting and not stop.count):
        while waiting and len(running) < jobs and not stop.count:
            trial = waiting.popleft()
            with writing(trial.log):
                trial.log.parent.mkdir(parents=True, exist_ok=True)
                trial.log.touch()
            arguments = (trial.words, trial.log, threads, dict(os.environ))
            process: BaseProcess = context.Process(target=_work, args=arguments)
            process.start()
            running[process] = trial
            watcher.started(trial)
        wait([process.sentinel for process in running], _TICK_SECONDS)
        if stop.count > passed_on:
            passed_on = stop.count
            for process in running:
                _signal(process)
        for ended in [process for process in running if process.exitcode is not None]:
            trial = running.pop(ended)
            assert ended.exitcode is not None
            outcomes[trial] = _outcome(trial, ended.exitcode)
            watcher.ended(trial, outcomes[trial])
        watcher.tick(running.values())
    return outcomes | {trial: Outcome("waiting") for trial in waiting}


def _signal(process: BaseProcess) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process.pid, signal.SIGTERM)


def _outcome(trial: Trial, code: int) -> Outcome:
    if code == EXIT_OK:
        return Outcome("finished")
    if code == EXIT_REQUEUE:
        return Outcome("interrupted", "stopped by a signal, saved")
    if code < 0:
        return Outcome("failed", f"ended by {signal.Signals(-code).name}")
    lines = trial.log.read_text(encoding="utf-8", errors="replace").splitlines()
    # The last line that stands at the margin: an error's message, or the end of a traceback.
    said = [line for line in lines if line.strip() and not line.startswith(" ")]
    return Outcome("failed", said[-1].removeprefix("error: ") if said else f"exit code {code}")


def _work(words: tuple[str, ...], log: Path, threads: int, environment: Mapping[str, str]) -> None:
    """The process of one run, as `python -m framework WORDS`."""
    # Not the terminal's: who started this process hands on what concerns it.
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment, OMP_NUM_THREADS=str(threads))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.orig_argv = [sys.executable, "-m", "framework", *words]
    sys.argv = [sys.argv[0], *words]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    runpy.run_module("framework", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """Save and end when the process that started this one was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    # Before training has begun the signal may come to nothing.
    time.sleep(60)
    os.kill(os.getpid(), signal.SIGTERM)
