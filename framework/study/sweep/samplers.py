"""Optuna's samplers and pruners by name, and its distributions of a search space."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from framework.errors import Problem, UserError
from framework.naming import listed, nearest
from framework.study.sweep.space import Choices, Parameter, Range

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.exceptions import ExperimentalWarning
    from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
    from optuna.samplers import BaseSampler, GridSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise UserError(f"a sweep needs Optuna: pip install 'framework[sweep]' ({error})") from error

PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": MedianPruner,
    "hyperband": HyperbandPruner,
    "successive_halving": SuccessiveHalvingPruner,
    "none": NopPruner,
}
#: what a trial that takes another one over notes: the number of that one
ORIGIN = "origin"
_NOT_ALONE = ("BaseSampler", "BaseGASampler", "PartialFixedSampler")
_ALIASES = {"nsga2": "nsgaii", "nsga3": "nsgaiii", "cma_es": "cmaes"}
#: these walk through a list, whose order must be the same for every trial
_LISTED = ("grid", "bruteforce")
#: these keep a state of their own from trial to trial
_CONTINUOUS = ("qmc", "cmaes")


def check_names(sampler: str, pruner: str, problems: list[Problem]) -> None:
    """Add a problem for each name that Optuna does not have."""
    offered = [*_samplers(), *_ALIASES]
    if sampler not in offered:
        message = f"there is no '{sampler}'{nearest(sampler, offered)}{listed(_samplers())}"
        problems.append(Problem("sampler", message, "command line"))
    if pruner not in PRUNERS:
        message = f"there is no '{pruner}'{nearest(pruner, PRUNERS)}{listed(PRUNERS)}"
        problems.append(Problem("pruner", message, "command line"))


class PerTrial(BaseSampler):
    """Draws each trial from a random stream of its own number.

    So one process alone proposes the same settings whether it was stopped in between or not, and several
    do not propose the same ones.

    Args:
        name: as `check_names` allows it.
        space: key -> distribution.

    Raises:
        UserError: the sampler needs a package that is not installed.
    """

    def __init__(self, name: str, space: Mapping[str, BaseDistribution]) -> None:
        self._name = _ALIASES.get(name, name)
        self._space = space
        self._inner = self._make(0)

    def _make(self, seed: int) -> BaseSampler:
        if self._name == "grid":
            return GridSampler({key: _all_values(d) for key, d in self._space.items()}, seed=0)
        with warnings.catch_warnings():
            # Some are marked as experimental: their interface may change, which is this class's to follow.
            warnings.simplefilter("ignore", ExperimentalWarning)
            try:
                sampler: BaseSampler = _samplers()[self._name](seed=seed)
            except ImportError as error:
                raise UserError(f"sampler={self._name} needs another package: {error}") from error
        return sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self._name not in (*_LISTED, *_CONTINUOUS):
            earlier = study.get_trials(deepcopy=False)[: trial.number]
            self._inner = self._make(sum(ORIGIN not in other.user_attrs for other in earlier))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        # At the end of their list these want to stop `Study.optimize`, which is not used here.
        if self._name not in _LISTED:
            self._inner.after_trial(study, trial, state, values)


def _samplers() -> dict[str, Any]:
    return {
        name.removesuffix("Sampler").lower(): getattr(optuna.samplers, name)
        for name in optuna.samplers.__all__
        if name.endswith("Sampler") and name not in _NOT_ALONE
    }


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna knows it."""
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.values)
    assert isinstance(parameter, Range)
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _all_values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution)
    return list(range(distribution.low, distribution.high + 1))
