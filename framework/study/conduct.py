"""A planned comparison from its first run to its arms: candidates, choice, all seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from framework.study.arms import Arm, Tried
from framework.study.board import Board
from framework.study.grid import ArmChoice, Choice
from framework.study.job import Job, Outcome
from framework.study.plan import Plan
from framework.study.processes import Stop
from framework.study.results import Result, read_result
from framework.study.run_jobs import run_jobs
from framework.study.trial import Trial

Outcomes = Mapping[Job, Outcome]


def conduct(plan: Plan, *, jobs: int, board: Board, stop: Stop) -> tuple[list[Arm], Outcomes]:
    """Run what is not finished yet and gather the arms; also those of a comparison that was cut short.

    Raises:
        UserError: a folder cannot be written.
    """
    trials = list(plan.trials())
    outcomes = _run(trials, plan, jobs, board, stop)
    results = _read(outcomes)
    if not plan.grid.tuned:
        return [_arm(plan, arm, arm.candidates[0], (), results, outcomes) for arm in plan.grid.arms], outcomes
    tried = {arm: _tried(plan, arm, results) for arm in plan.grid.arms}
    chosen = {arm: _best(arm.candidates, tried[arm], results) for arm in plan.grid.arms}
    # Seed by seed, so that a comparison that is cut short has pairs.
    rest = [
        plan.trial(arm, candidate, seed)
        for seed in plan.seeds
        if seed not in plan.tune_seeds
        for arm, candidate in chosen.items()
        if candidate is not None
    ]
    board.expect(num_jobs(rest))
    if not stop.count:
        outcomes |= _run(rest, plan, jobs, board, stop)
    results = _read(outcomes)
    return [
        _arm(plan, arm, candidate, tried[arm], results, outcomes) for arm, candidate in chosen.items()
    ], outcomes


def num_jobs(trials: Iterable[Trial]) -> int:
    """How many processes the trials need."""
    return sum(len(trial.jobs) for trial in trials)


def _run(trials: Sequence[Trial], plan: Plan, jobs: int, board: Board, stop: Stop) -> dict[Job, Outcome]:
    chains: list[Sequence[Job]] = [trial.jobs for trial in trials]
    return run_jobs(chains, jobs=jobs, threads=plan.threads, watcher=board, stop=stop)


def _read(outcomes: Outcomes) -> dict[Trial, Result]:
    return {
        job: read_result(job.folder, job.earlier)
        for job, outcome in outcomes.items()
        if isinstance(job, Trial) and outcome.state == "finished"
    }


def _tried(plan: Plan, arm: ArmChoice, results: Mapping[Trial, Result]) -> tuple[Tried, ...]:
    tried = []
    for candidate in arm.candidates:
        by_seed: dict[int, float | None] = {}
        for seed in plan.tune_seeds:
            result = results.get(plan.trial(arm, candidate, seed))
            by_seed[seed] = result.selection if result is not None else None
        known = [value for value in by_seed.values() if value is not None and math.isfinite(value)]
        # A mean over fewer seeds than the others have is another number.
        mean = math.fsum(known) / len(known) if len(known) == len(by_seed) else None
        tried.append(Tried(candidate.name, candidate.overrides, by_seed, mean))
    return tuple(tried)


def _best(
    candidates: Sequence[Choice], tried: Sequence[Tried], results: Mapping[Trial, Result]
) -> Choice | None:
    """The best on average by the selection rule, of equals the first; None if none came to its end."""
    some = next(iter(results.values()), None)
    values = [
        (each.value, candidate)
        for each, candidate in zip(tried, candidates, strict=True)
        if each.value is not None
    ]
    if some is None or not values:
        return None
    sign = 1 if some.is_maximized(some.metric) else -1
    return max(values, key=lambda pair: sign * pair[0])[1]


def _arm(
    plan: Plan,
    arm: ArmChoice,
    candidate: Choice | None,
    tried: tuple[Tried, ...],
    results: Mapping[Trial, Result],
    outcomes: Outcomes,
) -> Arm:
    runs: dict[int, Result] = {}
    missing: dict[int, str] = {}
    for seed in plan.seeds:
        trial = plan.trial(arm, candidate, seed) if candidate is not None else None
        if trial is not None and trial in results:
            runs[seed] = results[trial]
        else:
            missing[seed] = _why(outcomes.get(trial) if trial is not None else None)
    overrides = (*arm.overrides, *(candidate.overrides if candidate is not None else ()))
    name = arm.name or plan.config.config.policy.name
    chosen = candidate.name if candidate is not None else ""
    return Arm(name, runs, overrides, arm.recipe, tried, chosen, missing)


def _why(outcome: Outcome | None) -> str:
    if outcome is None:
        return "no candidate was complete"
    return f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
