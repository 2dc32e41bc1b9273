"""Everything a comparison will run, composed and validated before anything starts."""

from __future__ import annotations

import hashlib
import json
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
from framework.study.grid import ArmChoice, Choice, Grid
from framework.study.recipe.file import Recipe, read_recipe
from framework.study.recipe.plan import handed_on, make_recipe_plan
from framework.study.trial import Trial, recipe_trial, run_trial
from framework.study.words import placed, typed


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
        loaded: (arm, candidate) -> the configuration with the first seed; of a recipe, of its last phase.
        recipes: (arm, candidate) -> the recipe, where the arm is one.
    """

    conf: str
    grid: Grid
    seeds: tuple[int, ...]
    tune_seeds: tuple[int, ...]
    threads: int
    folder: Path
    loaded: Mapping[tuple[ArmChoice, Choice], LoadedConfig]
    recipes: Mapping[tuple[ArmChoice, Choice], Recipe]

    @property
    def config(self) -> LoadedConfig:
        """That of the first arm: selection and evaluation are the same for all."""
        return next(iter(self.loaded.values()))

    def trial(self, arm: ArmChoice, candidate: Choice, seed: int) -> Trial:
        """The run of one seed."""
        folder = self.folder / arm.folder
        if self.grid.tuned:
            folder /= candidate.folder
        folder /= f"seed-{seed}"
        recipe = self.recipes.get((arm, candidate))
        if recipe is not None:
            return recipe_trial(recipe, arm, candidate, seed, folder)
        overrides = (*self.grid.common, *arm.overrides, *candidate.overrides)
        return run_trial(self.conf, overrides, arm, candidate, seed, folder)

    def configs(self, arm: ArmChoice, candidate: Choice, seed: int) -> dict[Path, Mapping[str, Any]]:
        """Run folder -> the configuration, of all runs of one seed."""
        trial = self.trial(arm, candidate, seed)
        recipe = self.recipes.get((arm, candidate))
        if recipe is not None:
            plan = make_recipe_plan(recipe.with_seed(seed), out=trial.folder.parent)
            return {phase.training.folder: phase.loaded.data for phase in plan.phases}
        overrides = (*self.grid.common, *arm.overrides, *candidate.overrides, f"seed={seed}")
        return {trial.folder: load(self.conf, overrides).data}

    def trials(self) -> Iterator[Trial]:
        """Those that are certain to run: all where nothing is tuned, else every candidate on `tune_seeds`."""
        # Seed by seed, so that a comparison that is cut short has pairs.
        for seed in self.tune_seeds if self.grid.tuned else self.seeds:
            for arm in self.grid.arms:
                for candidate in arm.candidates:
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

    def arm_words(self, arm: ArmChoice) -> list[str]:
        """All that an arm is made of, beside what all arms have."""
        words = [*arm.overrides, *(axis.word for axis in arm.tune)]
        recipe = self.recipes.get((arm, arm.candidates[0]))
        return words if recipe is None else [f"recipe={arm.recipe}", json.dumps(handed_on(recipe)), *words]


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
    loaded: dict[tuple[ArmChoice, Choice], LoadedConfig] = {}
    recipes: dict[tuple[ArmChoice, Choice], Recipe] = {}
    contents: dict[tuple[ArmChoice, Choice], list[Mapping[str, Any]]] = {}
    faults: dict[Problem, list[str]] = {}
    for arm in grid.arms:
        for candidate in arm.candidates:
            try:
                recipe, phases = _compose(conf, grid.common, arm, candidate, seeds[0])
            except ConfigError as error:
                for problem in error.problems:
                    names = faults.setdefault(problem, [])
                    names += [arm.name] if arm.name not in names else []
                continue
            if recipe is not None:
                recipes[arm, candidate] = recipe
            loaded[arm, candidate] = phases[-1]
            contents[arm, candidate] = [phase.data for phase in phases]
    if faults:
        raise ConfigError([_of_arms(problem, names, grid) for problem, names in faults.items()], conf)
    _check_arms(grid, loaded, contents)
    name = next(iter(loaded.values())).config.name
    folder = out or Path("runs") / name / f"compare-{study or _label(conf, grid)}"
    return Plan(conf, grid, tuple(seeds), tuple(seeds[:tune_seeds]), threads, folder, loaded, recipes)


def check_runs(plan: Plan) -> None:
    """Refuse to go on with runs of another configuration.

    Raises:
        ConfigError: what differs in which run folder, and what to do.
    """
    lines = []
    for arm in plan.grid.arms:
        for candidate, seed in [(candidate, seed) for candidate in arm.candidates for seed in plan.seeds]:
            trial = plan.trial(arm, candidate, seed)
            # A folder without a status holds no run yet: the run itself deals with what is there.
            begun = [
                folder
                for folder in (*trial.earlier, trial.folder)
                if is_run_folder(folder) and read_status(folder) is not None
            ]
            configs = plan.configs(arm, candidate, seed) if begun else {}
            for folder in begun:
                changed = differences(saved_config(folder), configs[folder])
                lines += [f"\n    {folder}: {line}" for line in changed]
    if lines:
        advice = (
            f"{plan.folder} holds runs of another configuration: put it back, choose another study=NAME or"
            " out=DIR, or delete the folder. What differs:"
        )
        raise ConfigError(advice + "".join(lines))


def _compose(
    conf: str, common: Sequence[str], arm: ArmChoice, candidate: Choice, seed: int
) -> tuple[Recipe | None, list[LoadedConfig]]:
    """The recipe, if the arm is one, and the configurations of its phases or that of the one run.

    Raises:
        ConfigError: every fault, with the place where it was written.
    """
    words = arm.written(candidate)
    try:
        if not arm.recipe:
            return None, [load(conf, [*common, *(text for text, _ in words), f"seed={seed}"])]
        recipe = read_recipe(arm.recipe, words, run_file=conf, first=typed(common))
        # Where the runs will be is nothing that tells one arm from another.
        plan = make_recipe_plan(recipe.with_seed(seed), out=Path("recipe"))
        return recipe, [phase.loaded for phase in plan.phases]
    except ConfigError as error:
        problems = [placed(problem, words) for problem in error.problems]
        if arm.recipe:
            problems = [each if each.where else replace(each, where=arm.place) for each in problems]
        raise ConfigError(problems) from error


def _of_arms(problem: Problem, names: Sequence[str], grid: Grid) -> Problem:
    """Faults that not all arms have say whose they are."""
    if len(names) == len(grid.arms):
        return problem
    return replace(problem, message=f"{problem.message} [{'; '.join(names)}]")


def _check_arms(
    grid: Grid,
    loaded: Mapping[tuple[ArmChoice, Choice], LoadedConfig],
    contents: Mapping[tuple[ArmChoice, Choice], Sequence[Mapping[str, Any]]],
) -> None:
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
        numbers = json.dumps(
            [
                {key: value for key, value in data.items() if key != "reporters"}
                for data in contents[arm, candidate]
            ]
        )
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


def _label(conf: str, grid: Grid) -> str:
    """The same words find the same folder again."""
    own = [
        (*arm.overrides, *([arm.recipe] if arm.recipe else []), *(axis.word for axis in arm.tune))
        for arm in grid.arms
    ]
    words = json.dumps([conf, grid.common, own, [c.overrides for c in grid.candidates]])
    return hashlib.sha256(words.encode()).hexdigest()[:8]
