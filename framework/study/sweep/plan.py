"""Everything a sweep needs to know, composed and validated before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.config.load import LoadedConfig, load
from framework.data.build import build_data
from framework.errors import ConfigError, Problem
from framework.evaluation.averages import is_maximized
from framework.registry import registry
from framework.study.grid import Choice
from framework.study.sweep.space import Parameter, Value, override
from framework.study.trial import Trial
from framework.study.words import quoted

_NOTHING = Choice("", ())
_TEST = "test"


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be started.

    Attributes:
        conf: the run file as it was given.
        common: overrides of every run.
        space: what is searched.
        seeds: each setting is run with all of them, and judged by the mean.
        num_trials: settings to try, over all processes that work on the sweep.
        threads: CPU threads of each run.
        sampler: who proposes settings.
        pruner: who stops runs early.
        storage: where trials are kept: an URL, or None for a database in the folder.
        folder: where everything else is.
        loaded: the configuration, with the first value of every parameter.
        maximize: whether more of the selection metric is better.
    """

    conf: str
    common: tuple[str, ...]
    space: tuple[Parameter, ...]
    seeds: tuple[int, ...]
    num_trials: int
    threads: int
    sampler: str
    pruner: str
    storage: str | None
    folder: Path
    loaded: LoadedConfig
    maximize: bool

    @property
    def metric(self) -> str:
        """What is optimized: the metric that checkpoints are selected by."""
        return self.loaded.config.select.metric

    @property
    def split(self) -> str:
        """The split on which it is measured."""
        return self.loaded.config.select.split

    @property
    def study(self) -> str:
        """The name of the sweep in its storage, which may hold others."""
        return f"{self.loaded.config.name}/{self.folder.name}"

    @property
    def final_splits(self) -> list[str]:
        """What the run file wants to be measured at the end and trials do not measure."""
        return [split for split in self.loaded.config.evaluate.final if split != self.split]

    def words(self, parameters: Mapping[str, Value], seed: int) -> tuple[str, ...]:
        """The overrides that make the run file the configuration of a trial."""
        return (*self.common, *(override(key, value) for key, value in parameters.items()), f"seed={seed}")

    def trial(self, number: int, parameters: Mapping[str, Value], seed: int) -> Trial:
        """The run of one seed; it does not measure the test split."""
        overrides = tuple(override(key, value) for key, value in parameters.items())
        folder = self.folder / f"trial-{number:04d}" / f"seed-{seed}"
        splits = [split for split in self.loaded.config.evaluate.splits if split != _TEST]
        words = (
            f"conf={self.conf}",
            *self.words(parameters, seed),
            f"evaluate.splits=[{','.join(splits)}]",
            f"evaluate.final=[{self.split}]",
            f"run.dir={quoted(str(folder))}",
        )
        return Trial(Choice(f"trial {number}", overrides), _NOTHING, seed, folder=folder, words=words)

    def load(self, parameters: Mapping[str, Value]) -> LoadedConfig:
        """The configuration that a trial stands for, with the first seed, test evaluation included."""
        return load(self.conf, self.words(parameters, self.seeds[0]))

    def identity(self) -> dict[str, Any]:
        """What must not change while a sweep goes on, beside the configuration."""
        return {
            "space": {parameter.key: str(parameter) for parameter in self.space},
            "seeds": list(self.seeds),
            "threads": self.threads,
        }


def make_sweep(
    conf: str,
    common: Sequence[str],
    space: Sequence[Parameter],
    seeds: Sequence[int],
    *,
    num_trials: int,
    threads: int,
    sampler: str,
    pruner: str,
    storage: str | None,
    study: str,
    out: Path | None,
) -> SweepPlan:
    """Compose and validate the configuration at both ends of every range and at every choice.

    Raises:
        ConfigError: every fault of every one of them, each once.
        UserError: the data cannot be read, which has to say whether more of the metric is better.
    """
    first = {parameter.key: parameter.ends[0] for parameter in space}
    faults: dict[Problem, None] = {}
    loaded: LoadedConfig | None = None
    # The first values together, then each other end by itself.
    corners = [first, *({**first, p.key: end} for p in space for end in p.ends[1:])]
    for corner in corners:
        words = [*common, *(override(key, value) for key, value in corner.items()), f"seed={seeds[0]}"]
        try:
            valid = load(conf, words)
            loaded = loaded or valid
        except ConfigError as error:
            faults |= dict.fromkeys(error.problems)
    if faults or loaded is None:
        raise ConfigError(list(faults), conf)
    sizes = [parameter.size for parameter in space]
    if sampler == "grid":
        endless = [parameter for parameter in space if parameter.size is None]
        if endless:
            message = "a grid needs choice(…) or int(…): there is no end of real numbers"
            raise ConfigError([Problem(parameter.key, message) for parameter in endless])
    if all(size is not None for size in sizes):
        # There is nothing else to try.
        num_trials = min(num_trials, math.prod(size for size in sizes if size is not None))
    folder = out or Path("runs") / loaded.config.name / f"sweep-{study}"
    return SweepPlan(
        conf,
        tuple(common),
        tuple(space),
        tuple(seeds),
        num_trials,
        threads,
        sampler,
        pruner,
        storage,
        folder,
        loaded,
        _is_maximized(loaded),
    )


def _is_maximized(loaded: LoadedConfig) -> bool:
    rule = loaded.config.select
    if rule.mode != "auto":
        return rule.mode == "max"
    data = build_data(loaded.config.data, loaded.config.seed)
    task = registry.build(
        "task",
        loaded.config.task,
        spec=data.spec,
        class_counts=data.class_counts.tolist(),
        class_shares=data.class_shares.tolist(),
    )
    return is_maximized(rule.metric, task.maximize)
