"""Runs in processes of their own; what befalls one leaves the others alone."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Generic

import torch

from framework.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_REQUEUE
from framework.files import writing
from framework.study.job import AnyJob, Job, Outcome

_TICK_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


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


class Processes(Generic[AnyJob]):
    """The runs that are going on, each in a process with `threads` CPU threads.

    Left by an exception, the context has what is going on save and end, and waits for it.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["framework.study.preload"])
        self._running: dict[BaseProcess, AnyJob] = {}

    def __enter__(self) -> Processes[AnyJob]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            # Again and again: one that has just been forked is deaf at first.
            self.stop()
            self.ended()

    @property
    def running(self) -> list[AnyJob]:
        """In the order they were started."""
        return list(self._running.values())

    def start(self, job: AnyJob) -> None:
        """Begin the run, or go on with it.

        Raises:
            UserError: its log cannot be written.
        """
        with writing(job.log):
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.touch()
        arguments = (job.words, job.log, self._threads, dict(os.environ))
        process: BaseProcess = self._context.Process(target=_work, args=arguments)
        process.start()
        self._running[process] = job

    def stop(self, job: AnyJob | None = None, *, save: bool = True) -> None:
        """Ask one run, or all, to save and end; those that were asked already can be told not to save."""
        for process, running in self._running.items():
            if job is None or running == job:
                # A run takes a second SIGTERM for the first one, and a SIGINT after it for impatience.
                _signal(process, signal.SIGTERM if save else signal.SIGINT)

    def ended(self) -> list[tuple[AnyJob, Outcome]]:
        """Those that ended since the last call; waits a moment for the first one."""
        wait([process.sentinel for process in self._running], _TICK_SECONDS)
        outcomes = []
        for process in [process for process in self._running if process.exitcode is not None]:
            job = self._running.pop(process)
            assert process.exitcode is not None
            outcomes.append((job, _outcome(job, process.exitcode)))
        return outcomes


def default_jobs(threads: int) -> int:
    """Processes at a time where nobody said: one on a machine with GPUs, else as many as the cores allow."""
    if torch.cuda.is_available():
        return 1
    # Where the system tells, only the cores that this process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def _signal(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process.pid, number)


def _outcome(job: Job, code: int) -> Outcome:
    if code == EXIT_OK:
        return Outcome("finished")
    if code == EXIT_REQUEUE:
        return Outcome("interrupted", "stopped by a signal, saved")
    if code == EXIT_INTERRUPTED:
        return Outcome("interrupted", "stopped by a second signal, not saved")
    if code < 0:
        return Outcome("failed", f"ended by {signal.Signals(-code).name}", killed=True)
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return Outcome("failed", f"exit code {code}, and its log cannot be read: {error.strerror}")
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
