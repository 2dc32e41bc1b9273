"""Everything a comparison will run, composed and validated before anything starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework.config.load import LoadedConfig, load
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import locate, shown
from framework.errors import ConfigError, Problem
from framework.run_folder import is_run_folder, read_status
from framework.run_folder.same_run import differences, saved_config
from framework.study.grid import Choice, Grid
from framework.study.training import Training


@dataclass(frozen=True)
class Trial(Training):
    """One run of a comparison or a sweep.

    Attributes:
        arm: what it belongs to.
        candidate: the values that are tried in it.
        seed: its seed.
    """

    arm: Choice
    candidate: Choice
    seed: int

    @property
    def name(self) -> str:
        """For a reader: arm, candidate and seed."""
        names = [name for name in (self.arm.name, self.candidate.name) if name]
        return ", ".join([*names, f"seed {self.seed}"])


@dataclass(frozen=True)
class Plan:
    """A comparison that can be started.

    Attributes:
        conf: the run file as it was given.
        grid: arms and candidates.
        seeds: of every arm.
        tune_seeds: those on which candidates are compared.
        threads: CPU threads of each run; it may change the last bits of a number, so it is part of the plan.
        folder: where everything is.
        loaded: (arm, candidate) -> the configuration with the first seed.
    """

    conf: str
    grid: Grid
    seeds: tuple[int, ...]
    tune_seeds: tuple[int, ...]
    threads: int
    folder: Path
    loaded: Mapping[tuple[Choice, Choice], LoadedConfig]

    @property
    def config(self) -> LoadedConfig:
        """That of the first arm: selection and evaluation are the same for all."""
        return next(iter(self.loaded.values()))

    def trial(self, arm: Choice, candidate: Choice, seed: int) -> Trial:
        """The run of one seed."""
        folder = self.folder / arm.folder
        if self.grid.tuned:
            folder /= candidate.folder
        folder /= f"seed-{seed}"
        words = (
            f"conf={self.conf}",
            *self.grid.common,
            *arm.overrides,
            *candidate.overrides,
            f"seed={seed}",
            f"run.dir={quoted(str(folder))}",
        )
        return Trial(arm, candidate, seed, folder=folder, words=words)

    def trials(self) -> Iterator[Trial]:
        """Those that are certain to run: all where nothing is tuned, else every candidate on `tune_seeds`."""
        # Seed by seed, so that a comparison that is cut short has pairs.
        for seed in self.tune_seeds if self.grid.tuned else self.seeds:
            for arm in self.grid.arms:
                for candidate in self.grid.candidates:
                    yield self.trial(arm, candidate, seed)

    def identity(self) -> dict[str, Any]:
        """What must not change while a study folder is continued."""
        return {
            "conf": shown(locate(self.conf)),
            "common": list(self.grid.common),
            "candidates": [list(candidate.overrides) for candidate in self.grid.candidates],
            "tune_seeds": list(self.tune_seeds) if self.grid.tuned else [],
            "threads": self.threads,
        }


def make_plan(
    conf: str,
    grid: Grid,
    seeds: Sequence[int],
    *,
    tune_seeds: int = 1,
    threads: int = 1,
    study: str | None = None,
    out: Path | None = None,
) -> Plan:
    """Compose and validate every configuration.

    Args:
        conf: the run file.
        grid: what is varied.
        seeds: of every arm.
        tune_seeds: candidates are compared on so many of them, the first ones.
        threads: CPU threads of each run.
        study: name of the folder `runs/NAME/compare-STUDY`; None makes one of what is compared.
        out: the folder itself.

    Raises:
        ConfigError: every fault of every configuration, each once; or two arms are the same.
    """
    loaded: dict[tuple[Choice, Choice], LoadedConfig] = {}
    faults: dict[Problem, list[str]] = {}
    for arm in grid.arms:
        for candidate in grid.candidates:
            overrides = (*grid.common, *arm.overrides, *candidate.overrides, f"seed={seeds[0]}")
            try:
                loaded[arm, candidate] = load(conf, overrides)
            except ConfigError as error:
                for problem in error.problems:
                    names = faults.setdefault(problem, [])
                    names += [arm.name] if arm.name not in names else []
    if faults:
        raise ConfigError([_of_arms(problem, names, grid) for problem, names in faults.items()], conf)
    _check_arms(grid, loaded)
    name = next(iter(loaded.values())).config.name
    folder = out or Path("runs") / name / f"compare-{study or _label(conf, grid)}"
    return Plan(conf, grid, tuple(seeds), tuple(seeds[:tune_seeds]), threads, folder, loaded)


def check_runs(plan: Plan) -> None:
    """Refuse to go on with runs of another configuration.

    Raises:
        ConfigError: what differs in which run folder, and what to do.
    """
    lines = []
    for arm in plan.grid.arms:
        for candidate in plan.grid.candidates:
            for seed in plan.seeds:
                trial = plan.trial(arm, candidate, seed)
                # A folder without a status holds no run yet: the run itself deals with what is there.
                if not is_run_folder(trial.folder) or read_status(trial.folder) is None:
                    continue
                overrides = (*plan.grid.common, *arm.overrides, *candidate.overrides, f"seed={seed}")
                changed = differences(saved_config(trial.folder), load(plan.conf, overrides).data)
                lines += [f"\n    {trial.folder}: {line}" for line in changed]
    if lines:
        advice = (
            f"{plan.folder} holds runs of another configuration: put it back, choose another study=NAME or"
            " out=DIR, or delete the folder. What differs:"
        )
        raise ConfigError(advice + "".join(lines))


def _of_arms(problem: Problem, names: Sequence[str], grid: Grid) -> Problem:
    """Faults that not all arms have say whose they are."""
    if len(names) == len(grid.arms):
        return problem
    return replace(problem, message=f"{problem.message} [{'; '.join(names)}]")


def _check_arms(grid: Grid, loaded: Mapping[tuple[Choice, Choice], LoadedConfig]) -> None:
    problems = []
    seen: dict[str, str] = {}
    first = next(iter(loaded.values())).data
    for (arm, candidate), each in loaded.items():
        name = ",".join(filter(None, (arm.name, candidate.name)))
        for key in ("select", "evaluate", "name"):
            if each.data[key] != first[key]:
                message = f"is another one in {name}: a comparison has one rule for all arms"
                problems.append(Problem(key, message, COMMAND_LINE))
        # Runs alike but for what touches no number would be compared with themselves.
        numbers = json.dumps({key: value for key, value in each.data.items() if key != "reporters"})
        if numbers in seen:
            problems.append(Problem("", f"{seen[numbers]} and {name} are the same configuration"))
        seen[numbers] = name
    folders: dict[str, str] = {}
    for arm in grid.arms:
        other = folders.setdefault(arm.folder, arm.name)
        if other != arm.name:
            problems.append(Problem("", f"{other} and {arm.name} would share a folder: rename one"))
    if problems:
        raise ConfigError(problems)


def quoted(text: str) -> str:
    """A value as an override holds it whatever is in it."""
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        return text
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + "'"


def _label(conf: str, grid: Grid) -> str:
    """The same words find the same folder again."""
    words = json.dumps(
        [conf, grid.common, [arm.overrides for arm in grid.arms], [c.overrides for c in grid.candidates]]
    )
    return hashlib.sha256(words.encode()).hexdigest()[:8]
