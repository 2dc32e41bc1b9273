"""The file of a recipe: phases, each an ordinary run, and what they hand on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from framework.config.document import Document, read
from framework.config.problems import translate
from framework.config.provenance import Origins
from framework.config.schema import Section
from framework.config.sources import locate, recipes, shown
from framework.errors import ConfigError, Problem
from framework.naming import listed, nearest
from framework.registry import KINDS, ComponentConfig, Of, registry
from framework.study.words import Written, typed

#: of phases: they are folders, and stand before a colon
PHASE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: keys that the recipe decides
OWN = ("run.dir", "run.overwrite", "name")


class PhaseConfig(Section):
    """One run of a recipe."""

    conf: str
    """The run file: a path, or a name under conf/."""
    overrides: list[str] = []
    """`key=value` changes of it."""
    takes: dict[str, str] = {}
    """Key of the run's configuration -> `PHASE.ARTIFACT` of an earlier phase, whose path it is set to."""
    makes: list[Annotated[ComponentConfig, Of("artifact")]] = []
    """What is made of the finished run."""


class RecipeConfig(Section):
    """Runs that build on each other."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of its folder."""
    overrides: list[str] = []
    """`key=value` changes of every phase, before those of its own."""
    phases: dict[str, PhaseConfig] = Field(min_length=2)
    """In the order in which they run."""


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read, with what a command line adds to it.

    Attributes:
        path: its file.
        config: validated.
        common: words for all phases.
        own: phase -> words for it alone.
        origins: where each value was written.
        run_file: what every phase is a run of, in place of its own `conf`; empty for that.
        first: words for all phases, over which those of the recipe go.
    """

    path: Path
    config: RecipeConfig
    common: tuple[Written, ...]
    own: dict[str, tuple[Written, ...]]
    origins: Origins
    run_file: str = ""
    first: tuple[Written, ...] = ()

    def conf(self, phase: str) -> str:
        """The run file of a phase."""
        return self.run_file or self.config.phases[phase].conf

    def overrides(self, phase: str) -> list[Written]:
        """The words of a phase without what it takes, each with the place where it was written."""
        config = self.config
        written = [(text, self.origins.place(f"overrides.{k}")) for k, text in enumerate(config.overrides)]
        key = f"phases.{phase}.overrides"
        own = config.phases[phase].overrides
        written += [(text, self.origins.place(f"{key}.{k}")) for k, text in enumerate(own)]
        return [*self.first, *written, *self.common, *self.own.get(phase, ())]

    def with_seed(self, seed: int) -> Recipe:
        """The same with a seed for all phases."""
        return replace(self, common=(*self.common, *typed([f"seed={seed}"])))


def read_recipe(
    conf: str, words: Sequence[Written], *, run_file: str = "", first: Sequence[Written] = ()
) -> Recipe:
    """Read and check a recipe on its own, without the configurations of its phases.

    Args:
        conf: its file, or a name under conf/.
        words: `key=value` for all phases, `PHASE:key=value` for one.
        run_file: what every phase is a run of, in place of its own `conf`.
        first: words for all phases, over which those of the recipe go.

    Raises:
        ConfigError: every fault that was found.
    """
    path = locate(conf, recipes)
    problems: list[Problem] = []
    document = read(path, problems)
    if document is None:
        raise ConfigError(problems, shown(path))
    origins = Origins(shown(path))
    origins.add_document(document, "")
    config = _validated(document, origins, problems)
    if config is None:
        raise ConfigError(problems, shown(path))
    problems += _check_phases(config, origins)
    common, own = _sorted_words(words, config, problems)
    if problems:
        raise ConfigError(problems, shown(path))
    return Recipe(path, config, common, own, origins, run_file, tuple(first))


def _validated(document: Document, origins: Origins, problems: list[Problem]) -> RecipeConfig | None:
    if document.defaults:
        problems.append(Problem("defaults", "a recipe has none: its phases name run files by `conf`"))
    # Plugins may have registered artifacts since the model was used last.
    for name in registry.names("artifact"):
        model = registry.get("artifact", name).model
        if model.__pydantic_complete__:
            model.model_rebuild(force=True)
    assert "artifact" in KINDS
    PhaseConfig.model_rebuild(force=True)
    RecipeConfig.model_rebuild(force=True)
    try:
        return RecipeConfig.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        problems += translate(error, RecipeConfig, document.values, origins)
        return None


def _check_phases(config: RecipeConfig, origins: Origins) -> list[Problem]:
    """Names of phases and artifacts, and what each phase takes."""
    problems = []
    made: dict[str, list[str]] = {}
    for name, phase in config.phases.items():
        place = f"phases.{name}"
        if not PHASE.fullmatch(name):
            problems.append(Problem(place, "the name must be letters, digits, _ and -, a letter first"))
        for key, source in phase.takes.items():
            message = _fault_of_source(source, name, made, list(config.phases))
            if message:
                problems.append(Problem(f"{place}.takes.{key}", message))
        names = [section.name for section in phase.makes]
        problems += [
            Problem(f"{place}.makes.{number}", f"{artifact} is made twice")
            for number, artifact in enumerate(names)
            if artifact in names[:number]
        ]
        made[name] = names
    return [replace(problem, where=origins.place(problem.path)) for problem in problems]


def _fault_of_source(source: str, phase: str, made: dict[str, list[str]], phases: list[str]) -> str:
    """What is wrong with `PHASE.ARTIFACT`, taken by `phase` after those of `made`; empty if nothing is."""
    giver, dot, artifact = source.partition(".")
    if not dot:
        return f"must be PHASE.ARTIFACT; got {source}"
    if giver not in phases:
        return f"there is no phase '{giver}'{nearest(giver, phases)}{listed(phases)}"
    if giver not in made:
        what = "the phase itself" if giver == phase else f"phase {giver}, which comes later"
        return f"{source} is of {what}; a phase takes what an earlier one makes"
    if artifact not in made[giver]:
        there = ", ".join(made[giver]) or "nothing"
        return f"phase {giver} makes no '{artifact}'{nearest(artifact, made[giver])} (it makes: {there})"
    return ""


def _sorted_words(
    words: Sequence[Written], config: RecipeConfig, problems: list[Problem]
) -> tuple[tuple[Written, ...], dict[str, tuple[Written, ...]]]:
    """Words for all phases, and those of single ones."""
    common: list[Written] = []
    own: dict[str, tuple[Written, ...]] = {}
    for word, place in words:
        key = word.partition("=")[0]
        phase, colon, _ = key.partition(":")
        if not colon:
            common.append((word, place))
        elif phase in config.phases:
            own[phase] = (*own.get(phase, ()), (word.partition(":")[2], place))
        else:
            names = ", ".join(config.phases)
            message = (
                f"'{word}': there is no phase '{phase}'{nearest(phase, config.phases)} (one of: {names})"
            )
            problems.append(Problem("", message, place))
    return tuple(common), own
