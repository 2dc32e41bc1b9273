"""Jobs brought to their end, several at a time, some of them after others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from framework.study.job import AnyJob, Outcome, Watcher
from framework.study.processes import Processes, Stop


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
