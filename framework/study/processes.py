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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Generic, Literal, Protocol, TypeVar

import torch

from framework.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_REQUEUE
from framework.files import writing

State = Literal["finished", "failed", "interrupted", "pruned", "waiting"]
_TICK_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `waiting` was never started, `pruned` was not worth going on.

    Attributes:
        reason: for a reader.
        killed: whether it failed by a signal from outside.
    """

    state: State
    reason: str = ""
    killed: bool = False


class Job(Protocol):
    """Something that a process of its own does, such as a run."""

    @property
    def name(self) -> str:
        """For a reader."""

    @property
    def folder(self) -> Path:
        """The run folder that it is about."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command line after `python -m framework`."""

    @property
    def log(self) -> Path:
        """What it prints."""

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to do."""


AnyJob = TypeVar("AnyJob", bound=Job)
Told = TypeVar("Told", bound=Job, contravariant=True)


class Watcher(Protocol, Generic[Told]):
    """Who is told how the runs go on."""

    def started(self, job: Told) -> None:
        """A process begins the run or goes on with it."""

    def ended(self, job: Told, outcome: Outcome) -> None:
        """It is over; also for one that was complete before."""

    def tick(self, running: Iterable[Told]) -> None:
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


def run_jobs(
    chains: Iterable[Sequence[AnyJob]], *, jobs: int, threads: int, watcher: Watcher[AnyJob], stop: Stop
) -> dict[AnyJob, Outcome]:
    """Bring every job to its end, `jobs` at a time, each with `threads` CPU threads.

    A job that is complete is left alone, an unfinished one goes on. After a signal none is started; those
    that are going save and end, at a second signal without saving.

    Args:
        chains: jobs that build on each other: one starts when those before it are finished, else not at all.
        jobs: how many at a time.
        threads: CPU threads of each.
        watcher: is told how they go on.
        stop: counts signals.

    Raises:
        UserError: a folder or log cannot be written.
    """
    outcomes: dict[AnyJob, Outcome] = {}
    waiting: deque[deque[AnyJob]] = deque()
    for chain in chains:
        # What the last one was made of may be gone.
        done = [job for job in chain if job.complete or chain[-1].complete]
        for job in done:
            outcomes[job] = Outcome("finished")
            watcher.ended(job, outcomes[job])
        if len(done) < len(chain):
            waiting.append(deque(job for job in chain if job not in done))
    with Processes[AnyJob](threads) as processes:
        _work_off(waiting, outcomes, processes, jobs, watcher, stop)
    return outcomes | {job: Outcome("waiting") for rest in waiting for job in rest}


def _work_off(
    waiting: deque[deque[AnyJob]],
    outcomes: dict[AnyJob, Outcome],
    processes: Processes[AnyJob],
    jobs: int,
    watcher: Watcher[AnyJob],
    stop: Stop,
) -> None:
    """Take chains from `waiting` until there is none, or a signal came, and note how each job ended."""
    following: dict[AnyJob, deque[AnyJob]] = {}
    passed_on = 0
    while processes.running or (waiting and not stop.count):
        while waiting and len(processes.running) < jobs and not stop.count:
            rest = waiting.popleft()
            job = rest.popleft()
            following[job] = rest
            processes.start(job)
            watcher.started(job)
        ended = processes.ended()
        if stop.count > passed_on:
            passed_on = stop.count
            processes.stop(save=passed_on == 1)
        for job, outcome in ended:
            outcomes[job] = outcome
            watcher.ended(job, outcome)
            rest = following.pop(job)
            if outcome.state == "finished" and rest:
                waiting.appendleft(rest)
            else:
                reason = f"{job.name}: {outcome.reason or outcome.state}"
                outcomes.update({left: Outcome("waiting", reason) for left in rest})
        watcher.tick(processes.running)


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
