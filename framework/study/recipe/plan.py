"""Everything a recipe will run, composed and validated before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework.artifacts.base import artifact_path, is_written
from framework.config.load import LoadedConfig, load
from framework.config.sources import shown
from framework.errors import ConfigError, Problem
from framework.registry import ComponentConfig
from framework.run_folder.same_run import differences
from framework.study.recipe.file import OWN, Recipe
from framework.study.recipe.objections import kind_of, objections
from framework.study.training import Training
from framework.study.words import Written, placed, quoted, value_word

RECIPE = "recipe.json"


@dataclass(frozen=True)
class PhaseTraining(Training):
    """The run of the phase `name`."""

    name: str


@dataclass(frozen=True)
class Making:
    """An artifact of a phase.

    Attributes:
        name: phase and artifact.
        folder: the run folder.
        words: the command line after `python -m framework`.
        path: where the artifact is written.
    """

    name: str
    folder: Path
    words: tuple[str, ...]
    path: Path

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.with_name(f"log-{self.folder.name}-{self.path.stem}.txt")

    @property
    def complete(self) -> bool:
        """Whether it is written."""
        return is_written(self.path)


@dataclass(frozen=True)
class Phase:
    """A phase with its configuration, validated."""

    training: PhaseTraining
    makings: tuple[Making, ...]
    loaded: LoadedConfig

    @property
    def jobs(self) -> tuple[PhaseTraining | Making, ...]:
        """The run, then what is made of it."""
        return (self.training, *self.makings)


@dataclass(frozen=True)
class RecipePlan:
    """A recipe that can be started.

    Attributes:
        recipe: as it was read.
        folder: where everything is.
        phases: in order.
    """

    recipe: Recipe
    folder: Path
    phases: tuple[Phase, ...]

    def content(self) -> dict[str, Any]:
        """What a folder says it is for."""
        return {"version": 1, "recipe": shown(self.recipe.path), "phases": self._phases()}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Refuse to go on with other phases than those a folder was begun with.

        Raises:
            ConfigError: what differs, and what to do.
        """
        there, now = saved["phases"], self._phases()
        lines = []
        if list(there) != list(now):
            lines.append(f"phases: {', '.join(there)} there, {', '.join(now)} now")
        for name in [name for name in now if name in there]:
            changed = differences(there[name]["config"], now[name]["config"])
            lines += [f"{name}: {line}" for line in changed]
            for key in ("makes", "takes"):
                if there[name][key] != now[name][key]:
                    told = [json.dumps(side[name][key]) for side in (there, now)]
                    lines.append(f"{name}: {key}: {told[0]} there, {told[1]} now")
        if lines:
            listed = "".join(f"\n    {line}" for line in lines)
            raise ConfigError(
                f"{self.folder} holds another recipe: choose another out=DIR, put the recipe and the command"
                f" back, or delete the folder. What differs:{listed}"
            )

    def _phases(self) -> dict[str, Any]:
        handed = handed_on(self.recipe)
        return {
            phase.training.name: {"config": phase.loaded.data, **handed[phase.training.name]}
            for phase in self.phases
        }


def handed_on(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Phase -> what it takes and makes, as plain data."""
    return {
        name: {
            "takes": dict(config.takes),
            "makes": [section.model_dump(mode="json") for section in config.makes],
        }
        for name, config in recipe.config.phases.items()
    }


def phase_jobs(recipe: Recipe, folder: Path) -> list[tuple[PhaseTraining, tuple[Making, ...]]]:
    """The run of each phase and what is made of it, in order; nothing is composed."""
    return [_jobs(recipe, name, folder) for name in recipe.config.phases]


def make_recipe_plan(recipe: Recipe, *, out: Path | None = None) -> RecipePlan:
    """Compose and validate the configuration of every phase.

    Args:
        recipe: as it was read.
        out: the folder; None takes `runs/NAME/RECIPE`, with the run name of the last phase.

    Raises:
        ConfigError: every fault of every phase, each once.
    """
    names = list(recipe.config.phases)
    folder = out if out is not None else Path("runs") / _run_name(recipe) / recipe.config.name
    faults: dict[Problem, list[str]] = {}
    loaded: dict[str, LoadedConfig] = {}
    phases = []
    for name in names:
        words = _words(recipe, name, folder)
        try:
            loaded[name] = load(recipe.conf(name), [text for text, _ in words])
            problems = objections(recipe, name, loaded)
        except ConfigError as error:
            problems = [_placed(problem, recipe, name, words) for problem in error.problems]
        for problem in problems + _own_keys(words):
            faults.setdefault(problem, []).append(name)
        if name in loaded:
            phases.append(Phase(*_jobs(recipe, name, folder), loaded[name]))
    if faults:
        raise ConfigError(
            [
                problem
                if len(phases_of) == len(names)
                else replace(problem, message=f"{problem.message} [{', '.join(phases_of)}]")
                for problem, phases_of in faults.items()
            ],
            shown(recipe.path),
        )
    return RecipePlan(recipe, folder, tuple(phases))


def _run_name(recipe: Recipe) -> str:
    """The run name of the last phase; whatever is wrong with it is found when it is loaded."""
    name = list(recipe.config.phases)[-1]
    try:
        return load(recipe.conf(name), [text for text, _ in recipe.overrides(name)]).config.name
    except ConfigError:
        return "run"


def _words(recipe: Recipe, phase: str, folder: Path) -> list[Written]:
    """The overrides of a phase, each with the place where it was written."""
    words = recipe.overrides(phase)
    for key, source in recipe.config.phases[phase].takes.items():
        giver, _, artifact = source.partition(".")
        path = artifact_path(folder / giver, artifact, kind_of(artifact).suffix)
        place = recipe.origins.place(f"phases.{phase}.takes.{key}")
        words.append((f"{key}={quoted(str(path))}", place))
    return words


def _jobs(recipe: Recipe, name: str, folder: Path) -> tuple[PhaseTraining, tuple[Making, ...]]:
    run_dir = folder / name
    overrides = [text for text, _ in _words(recipe, name, folder)]
    words = (f"conf={recipe.conf(name)}", *overrides, f"run.dir={quoted(str(run_dir))}")
    training = PhaseTraining(name, folder=run_dir, words=words)
    makings = []
    for section in recipe.config.phases[name].makes:
        path = artifact_path(run_dir, section.name, kind_of(section.name).suffix)
        words = ("produce", str(run_dir), section.name, *_options(section))
        makings.append(Making(f"{name}.{section.name}", run_dir, words, path))
    return training, tuple(makings)


def _options(section: ComponentConfig) -> list[str]:
    """The options of an artifact as words of `produce`."""
    data = section.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    return [f"{key}={value_word(value)}" for key, value in data.items()]


def _own_keys(words: Sequence[Written]) -> list[Problem]:
    keys = ((text.partition("=")[0].lstrip("+~"), place) for text, place in words)
    return [
        Problem(key, "is the recipe's to decide; leave it out", place) for key, place in keys if key in OWN
    ]


def _placed(problem: Problem, recipe: Recipe, phase: str, words: Sequence[Written]) -> Problem:
    """The problem with the place in the recipe where its cause was written."""
    if not problem.where and not problem.path and not recipe.run_file:
        return replace(problem, where=recipe.origins.place(f"phases.{phase}.conf"))
    return placed(problem, words)
