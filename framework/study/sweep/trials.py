"""The trials of a sweep in an Optuna storage, which several processes may share: ask, report, tell.

Beside `samplers`, `storage` and `history` this is the one file that knows Optuna. A trial is taken, given up
and taken over in operations of the storage that only one process can do, so that no two of them work on one.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from framework.errors import ConfigError, UserError
from framework.run_folder.same_run import differences
from framework.study.sweep import history, worker
from framework.study.sweep.candidate import Candidate
from framework.study.sweep.samplers import ORIGIN, PRUNERS, PerTrial, distribution_of
from framework.study.sweep.space import Parameter, Value
from framework.study.sweep.storage import close_storage, open_storage, without_password

try:
    import optuna
    from optuna.exceptions import OptunaError, UpdateFinishedTrialError
    from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise UserError(f"a sweep needs Optuna: pip install 'framework[sweep]' ({error})") from error

#: how often a process shows that it is still at work on its trials
BEAT_SECONDS = 10.0
#: after so long without a sign of it, a trial is taken over
STALE_SECONDS = 60.0
_SWEEP, CONFIG = "sweep", "config"


@dataclass
class Attempt:
    """A trial that this process works on.

    Attributes:
        number: of the trial that was first asked for, if this one takes it over.
        kills: how often its runs were killed.
        reported: evaluations that the storage knows.
    """

    trial: Trial
    number: int
    parameters: Mapping[str, Value]
    kills: int
    reported: set[int] = field(default_factory=set)


class Trials:
    """The trials in one storage.

    Args:
        storage: an URL of SQLAlchemy, or `journal:PATH`.
        name: of the sweep in it.
        space: what is searched.
        num_trials: how many are wanted, over all processes.
        maximize: whether more is better.
        sampler: one of Optuna's, in lower case without `Sampler`.
        pruner: one of `PRUNERS`.
        sweep: what all processes must agree on: `space`, and the whole configuration as `config`.

    Raises:
        UserError: the storage cannot be used, or holds another sweep of that name.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        space: Sequence[Parameter],
        *,
        num_trials: int,
        maximize: bool,
        sampler: str,
        pruner: str,
        sweep: Mapping[str, Any],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._shown = without_password(storage)
        self._space = {parameter.key: distribution_of(parameter) for parameter in space}
        self._num_trials = num_trials
        self._me = worker.identity()
        self._beat_at = 0.0
        #: number of a running trial of others -> its last sign of life, and when it was first seen
        self._signs: dict[int, tuple[Any, float]] = {}
        proposer = PerTrial(sampler, self._space)
        with self._using():
            self._storage = open_storage(storage)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                load_if_exists=True,
                direction="maximize" if maximize else "minimize",
                pruner=PRUNERS[pruner](),
                sampler=proposer,
            )
            known = self._study.user_attrs.get(_SWEEP)
            if known is None:
                self._study.set_user_attr(_SWEEP, dict(sweep))
        if known is not None:
            _check_same(known, sweep, f"{self._shown} holds another sweep called {name}")

    def ask(self) -> Attempt | None:
        """A trial to work on; None while there is none to be had, or for ever.

        Raises:
            UserError: the storage cannot be used.
        """
        with self._using():
            self._take_over()
            current = history.current_trials(self._study.get_trials(deepcopy=False))
            if sum(trial.state != TrialState.WAITING for trial in current.values()) >= self._num_trials:
                return None
            trial = self._study.ask()
            self._storage.set_trial_user_attr(trial._trial_id, history.WORKER, self._me)
            everyone = self._study.get_trials(deepcopy=False)
            number = history.numbers_of(everyone)[trial.number]
            # Several processes may have asked at once: those with the last numbers were too many.
            if (
                sorted(history.current_trials(everyone)).index(number) >= self._num_trials
                and not trial.params
            ):
                self._storage.set_trial_user_attr(trial._trial_id, history.SURPLUS, True)
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                return None
            parameters = {key: trial._suggest(key, distribution) for key, distribution in self._space.items()}
            reported = set(self._storage.get_trial(trial._trial_id).intermediate_values)
            return Attempt(trial, number, parameters, int(trial.user_attrs.get(history.KILLS, 0)), reported)

    def report(self, attempt: Attempt, evaluation: int, value: float) -> bool:
        """Tell of the evaluation of that number; whether the trial is not worth going on.

        Raises:
            UserError: the storage cannot be used.
        """
        if evaluation in attempt.reported:
            return False
        attempt.reported.add(evaluation)
        hopeless = []
        with self._using(), _unless_lost():
            attempt.trial.report(value, evaluation)
            hopeless.append(attempt.trial.should_prune())
        return any(hopeless)

    def complete(self, attempt: Attempt, by_seed: Mapping[int, float], seconds: float) -> None:
        """It came to its end, with these values."""
        with self._using(), _unless_lost():
            self._note(attempt, history.VALUES, {str(seed): value for seed, value in by_seed.items()})
            self._note(attempt, history.SECONDS, seconds)
            self._study.tell(attempt.trial, math.fsum(by_seed.values()) / len(by_seed))

    def prune(self, attempt: Attempt, seconds: float) -> None:
        """It was stopped because it was not worth going on."""
        with self._using(), _unless_lost():
            self._note(attempt, history.SECONDS, seconds)
            self._study.tell(attempt.trial, state=TrialState.PRUNED)

    def fail(self, attempt: Attempt, reason: str) -> None:
        """Its run failed and would fail again."""
        with self._using(), _unless_lost():
            self._note(attempt, history.REASON, reason)
            self._study.tell(attempt.trial, state=TrialState.FAIL)

    def give_up(self, attempt: Attempt, *, killed: bool = False) -> None:
        """Leave it to whoever asks next."""
        with self._using(), _unless_lost():
            if killed:
                self._note(attempt, history.KILLS, attempt.kills + 1)
            self._storage.set_trial_state_values(attempt.trial._trial_id, TrialState.WAITING)

    def beat(self, attempts: Sequence[Attempt]) -> None:
        """Show now and then that the trials are being worked on."""
        if time.monotonic() - self._beat_at < BEAT_SECONDS:
            return
        self._beat_at = time.monotonic()
        with self._using():
            for attempt in attempts:
                with _unless_lost():
                    self._note(attempt, history.BEAT, time.time())

    def missing(self) -> int:
        """How many of the wanted trials have not come to an end."""
        with self._using():
            current = history.current_trials(self._study.get_trials(deepcopy=False))
        return max(0, self._num_trials - sum(trial.state.is_finished() for trial in current.values()))

    def candidates(self) -> list[Candidate]:
        """All trials, in the order of their numbers."""
        with self._using():
            current = history.current_trials(self._study.get_trials(deepcopy=False))
        return [history.as_candidate(number, current[number]) for number in sorted(current)]

    def importances(self) -> dict[str, float]:
        """Share of each parameter in how well a setting does (PED-ANOVA), the largest first; may be empty.

        Watanabe, Bansal and Hutter 2023 (arXiv 2304.10255).
        """
        values = {candidate.value for candidate in self.candidates()} - {None}
        if len(values) < 2:
            return {}
        with self._using(), warnings.catch_warnings():
            # With few trials it warns that the shares will be equal, which they then are.
            warnings.simplefilter("ignore", UserWarning)
            try:
                return dict(optuna.importance.get_param_importances(self._study))
            except (ValueError, RuntimeError):
                return {}

    def close(self) -> None:
        """Let the storage go."""
        close_storage(self._storage)

    def _note(self, attempt: Attempt, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(attempt.trial._trial_id, key, value)

    def _take_over(self) -> None:
        """Put the trials of processes that are gone back in the queue."""
        trials = self._study.get_trials(deepcopy=False)
        numbers = history.numbers_of(trials)
        for trial in (trial for trial in trials if trial.state == TrialState.RUNNING):
            holder = trial.user_attrs.get(history.WORKER, "")
            if holder == self._me or not self._is_stale(trial, holder):
                continue
            try:
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            except UpdateFinishedTrialError:
                continue  # another process was faster
            self._study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=trial.intermediate_values,
                    user_attrs={**trial.user_attrs, ORIGIN: numbers[trial.number]},
                    system_attrs=trial.system_attrs,
                )
            )

    def _is_stale(self, trial: FrozenTrial, holder: str) -> bool:
        if worker.is_gone(holder):
            return True
        # By this process's clock alone: those of two machines may differ.
        sign, now = (holder, trial.user_attrs.get(history.BEAT)), time.monotonic()
        if self._signs.get(trial.number, (None, now))[0] != sign:
            self._signs[trial.number] = (sign, now)
        return now - self._signs[trial.number][1] > STALE_SECONDS

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OptunaError, OSError, ImportError) as error:
            cause = error.__cause__ or error
            reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            raise UserError(
                f"the storage {self._shown} cannot be used: {reason}; the same command goes on when it can"
            ) from error


@contextmanager
def _unless_lost() -> Iterator[None]:
    """Another process may have taken the trial over from one that slept for long: what it says counts."""
    try:
        yield
    except UpdateFinishedTrialError:
        return


def _check_same(known: Mapping[str, Any], sweep: Mapping[str, Any], what: str) -> None:
    changed = [
        f"{key}: {known.get(key)} there, {value} now"
        for key, value in sweep.items()
        if key != CONFIG and known.get(key) != value
    ]
    searched = tuple(f"{key}{end}" for key in (*sweep["space"], "seed") for end in (":", "."))
    changed += [line for line in differences(known[CONFIG], sweep[CONFIG]) if not line.startswith(searched)]
    if changed:
        listed = "".join(f"\n    {line}" for line in changed)
        raise ConfigError(
            f"{what}: choose another study=NAME, or put the command back (trials, jobs, sampler and pruner"
            f" may change). What differs:{listed}"
        )
