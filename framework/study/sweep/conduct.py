"""A sweep from its first trial to its last: propose, run, follow, prune, judge."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from framework.errors import UserError
from framework.reporting.tail import Tail
from framework.run_folder import read_status
from framework.run_folder.lock import is_held
from framework.study.board import Board
from framework.study.job import Outcome
from framework.study.processes import Processes, Stop
from framework.study.results import read_result
from framework.study.sweep.plan import SweepPlan
from framework.study.sweep.trials import Attempt, Trials
from framework.study.trial import Trial

#: between two looks at the storage while other processes have all the trials
_SECONDS_BETWEEN_ASKS = 2.0
#: a run may be killed so often before its setting is taken to be at fault, e.g. by needing too much memory
_MAX_KILLS = 2


@dataclass
class _Course:
    """A trial on its way.

    Attributes:
        run: the one that goes on or is next.
        by_seed: values of the seeds that are complete.
        tail: of the run's records.
        evaluations: how many there were.
        pruned: it was told to stop.
    """

    attempt: Attempt
    run: Trial
    tail: Tail
    by_seed: dict[int, float] = field(default_factory=dict)
    evaluations: int = 0
    pruned: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Conductor:
    """Works on a sweep until all its trials have come to an end, here or in other processes.

    Args:
        plan: the sweep.
        trials: of the sweep.
        jobs: trials at a time.
        board: is told how the runs go on.
        stop: counts signals; after one, what runs is saved and left to the next start.
    """

    def __init__(self, plan: SweepPlan, trials: Trials, *, jobs: int, board: Board, stop: Stop) -> None:
        self._plan, self._trials = plan, trials
        self._jobs, self._board, self._stop = jobs, board, stop
        self._processes: Processes[Trial] = Processes(plan.threads)
        self._courses: list[_Course] = []
        self._next_ask = 0.0
        self._told_to_wait = False

    def conduct(self) -> None:
        """Run trials until there is nothing more to do, or a signal comes.

        Raises:
            UserError: the storage or a folder cannot be used; what was running has saved.
        """
        with self._processes:
            self._loop()

    def _loop(self) -> None:
        passed_on = 0
        while True:
            if not self._stop.count:
                if self._fill():
                    return
            elif not self._processes.running:
                break
            ended = self._processes.ended()
            if self._stop.count > passed_on:
                passed_on = self._stop.count
                self._processes.stop(save=passed_on == 1)
            self._trials.beat([course.attempt for course in self._courses])
            self._follow()
            for run, outcome in ended:
                self._settle(next(course for course in self._courses if course.run == run), outcome)
            self._board.tick(self._processes.running)
        for course in self._courses:
            self._trials.give_up(course.attempt)

    def _fill(self) -> bool:
        """Start what can be started; whether nothing is left to do."""
        running = self._processes.running
        # A run that another process has completed ends its course here.
        for course in [*self._courses]:
            if course.run not in running:
                self._start(course)
        while len(self._courses) < self._jobs and time.monotonic() >= self._next_ask:
            attempt = self._trials.ask()
            if attempt is None:
                self._next_ask = time.monotonic() + _SECONDS_BETWEEN_ASKS
                return not self._courses and self._is_over()
            run = self._plan.trial(attempt.number, attempt.parameters, self._plan.seeds[0])
            self._courses.append(_Course(attempt, run, Tail(run.folder)))
            self._start(self._courses[-1])
        return False

    def _is_over(self) -> bool:
        missing = self._trials.missing()
        if missing and not self._told_to_wait:
            self._told_to_wait = True
            self._board.tell(f"other processes are at work on the last trials ({missing}): waiting for them")
        return missing == 0

    def _start(self, course: _Course) -> None:
        """Begin the run of the course, unless it is complete or another process is still saving it."""
        status = read_status(course.run.folder)
        if status is not None and status.complete:
            self._settle(course, Outcome("finished"))
        elif not is_held(course.run.folder):
            self._processes.start(course.run)
            self._board.started(course.run)

    def _follow(self) -> None:
        """Hand on what the runs measured; those that are not worth going on are stopped."""
        first = self._plan.seeds[0]
        for course in self._courses:
            if course.pruned or course.run.seed != first:
                continue
            records = course.tail.read()
            if course.tail.restarted:
                course.evaluations = 0
            for record in records:
                if record["event"] != "evaluation" or record.get("final"):
                    continue
                value = record.get(self._plan.metric)
                if record["split"] != self._plan.split or value is None:
                    continue
                course.evaluations += 1
                if math.isfinite(value) and self._trials.report(course.attempt, course.evaluations, value):
                    course.pruned = True
            if course.pruned:
                self._processes.stop(course.run)

    def _settle(self, course: _Course, outcome: Outcome) -> None:
        """A run of the course has ended."""
        self._next_ask = 0.0
        if course.pruned and outcome.state == "interrupted":
            self._board.ended(course.run, Outcome("pruned"))
            self._courses.remove(course)
            self._trials.prune(course.attempt, course.seconds)
            return
        if outcome.state == "finished":
            outcome = self._note_value(course)
        self._board.ended(course.run, outcome)
        if outcome.state == "finished":
            self._go_on(course)
            return
        self._courses.remove(course)
        killed = outcome.state == "failed" and outcome.killed
        if outcome.state == "failed" and not (killed and course.attempt.kills < _MAX_KILLS):
            self._trials.fail(course.attempt, outcome.reason)
        else:
            self._trials.give_up(course.attempt, killed=killed)

    def _note_value(self, course: _Course) -> Outcome:
        try:
            value = read_result(course.run.folder).selection
        except UserError as error:
            return Outcome("failed", str(error))
        if value is None or not math.isfinite(value):
            return Outcome("failed", f"no evaluation gave a {self._plan.metric}")
        course.by_seed[course.run.seed] = value
        return Outcome("finished")

    def _go_on(self, course: _Course) -> None:
        """The next seed, or the end."""
        left = [seed for seed in self._plan.seeds if seed not in course.by_seed]
        if not left:
            self._courses.remove(course)
            self._trials.complete(course.attempt, course.by_seed, course.seconds)
            return
        course.run = self._plan.trial(course.attempt.number, course.attempt.parameters, left[0])
        course.tail = Tail(course.run.folder)
        if not self._stop.count:
            self._start(course)
