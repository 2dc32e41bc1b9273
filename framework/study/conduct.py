"""A planned comparison from its first run to its arms: candidates, choice, all seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from framework.study.arms import Arm, Tried
from framework.study.board import Board
from framework.study.grid import Choice
from framework.study.plan import Plan, Trial
from framework.study.processes import Outcome, Stop, run_trials
from framework.study.results import Result, read_result

Outcomes = Mapping[Trial, Outcome]


def conduct(plan: Plan, *, jobs: int, board: Board, stop: Stop) -> tuple[list[Arm], Outcomes]:
    """Run what is not finished yet and gather the arms; also those of a comparison that was cut short.

    Raises:
        UserError: a folder cannot be written.
    """
    trials = list(plan.trials())
    outcomes = dict(run_trials(trials, jobs=jobs, threads=plan.threads, watcher=board, stop=stop))
    results = _read(outcomes)
    if not plan.grid.tuned:
        only = plan.grid.candidates[0]
        return [_arm(plan, arm, only, (), results, outcomes) for arm in plan.grid.arms], outcomes
    tried = {arm: _tried(plan, arm, results) for arm in plan.grid.arms}
    chosen = {arm: _best(plan.grid.candidates, tried[arm], results) for arm in plan.grid.arms}
    # Seed by seed, so that a comparison that is cut short has pairs.
    rest = [
        plan.trial(arm, candidate, seed)
        for seed in plan.seeds
        if seed not in plan.tune_seeds
        for arm, candidate in chosen.items()
        if candidate is not None
    ]
    board.expect(len(rest))
    if not stop.count:
        outcomes |= run_trials(rest, jobs=jobs, threads=plan.threads, watcher=board, stop=stop)
    results = _read(outcomes)
    return [
        _arm(plan, arm, candidate, tried[arm], results, outcomes) for arm, candidate in chosen.items()
    ], outcomes


def _read(outcomes: Outcomes) -> dict[Trial, Result]:
    return {
        trial: read_result(trial.folder) for trial, outcome in outcomes.items() if outcome.state == "finished"
    }


def _tried(plan: Plan, arm: Choice, results: Mapping[Trial, Result]) -> tuple[Tried, ...]:
    tried = []
    for candidate in plan.grid.candidates:
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
    arm: Choice,
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
    return Arm(name, runs, overrides, tried, candidate.name if candidate is not None else "", missing)


def _why(outcome: Outcome | None) -> str:
    if outcome is None:
        return "no candidate was complete"
    return f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
