"""Optuna's trials as a sweep counts them: one that another process takes over is still the same."""

from __future__ import annotations

from collections.abc import Sequence

from framework.errors import UserError
from framework.study.sweep import worker
from framework.study.sweep.candidate import Candidate, State
from framework.study.sweep.samplers import ORIGIN

try:
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise UserError(f"a sweep needs Optuna: pip install 'framework[sweep]' ({error})") from error

#: what is noted of a trial beside Optuna's own
WORKER, BEAT, SURPLUS, REASON = "worker", "beat", "surplus", "reason"
VALUES, SECONDS, KILLS = "values", "seconds", "kills"
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def numbers_of(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Optuna's number -> the sweep's: those that take another one over have its number."""
    numbers: dict[int, int] = {}
    count = 0
    for trial in sorted(trials, key=lambda trial: trial.number):
        origin = trial.user_attrs.get(ORIGIN)
        numbers[trial.number] = count if origin is None else int(origin)
        count += origin is None
    return numbers


def current_trials(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Number -> the last of those that took it over; without those that were too many."""
    numbers = numbers_of(trials)
    there = [trial for trial in trials if not trial.user_attrs.get(SURPLUS)]
    return {numbers[trial.number]: trial for trial in sorted(there, key=lambda trial: trial.number)}


def as_candidate(number: int, trial: FrozenTrial) -> Candidate:
    """A trial with its number in the sweep, as all but these files know it."""
    notes = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    return Candidate(
        number=number,
        state=_STATES[trial.state],
        parameters=dict(trial.params),
        value=trial.value if complete else None,
        by_seed={int(seed): value for seed, value in notes.get(VALUES, {}).items()},
        evaluations=dict(trial.intermediate_values),
        reason=str(notes.get(REASON, "")),
        seconds=notes.get(SECONDS),
        host=worker.host_of(str(notes.get(WORKER, ""))),
    )
