"""From a file name and overrides to one validated, frozen `RunConfig`, or every fault at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from framework import plugins
from framework.config import checks, text
from framework.config.compose import Composition, compose
from framework.config.problems import translate
from framework.config.schema import RunConfig, Section, rebuild
from framework.config.sources import locate, shown
from framework.errors import ConfigError, PluginError, Problem
from framework.run_folder.same_run import CONFIG

PROVENANCE = "config.provenance.json"


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration with everything that is known of where it came from.

    Attributes:
        config: validated.
        data: the same as plain data, every default filled in.
        provenance: dotted key -> `conf/policy/rgd.yaml:3`, `command line` or `default`.
        path: the run file.
        overrides: as given on the command line.
    """

    config: RunConfig
    data: dict[str, Any]
    provenance: dict[str, str]
    path: Path
    overrides: tuple[str, ...]

    def origin(self, key: str) -> str:
        """Where a value was written; for a section or list, where its first value was."""
        below = (place for other, place in self.provenance.items() if other.startswith(f"{key}."))
        return self.provenance.get(key) or next(below, "")

    def located(self, error: ConfigError) -> ConfigError:
        """The same error, found after loading, with this file as its source and the places of its keys."""
        problems = [
            problem if problem.where else replace(problem, where=self.origin(problem.path))
            for problem in error.problems
        ]
        return ConfigError(problems, error.source or shown(self.path))


def load(conf: str, overrides: Sequence[str] = (), *, world_size: int = 1) -> LoadedConfig:
    """Compose, load the plugins that it names, validate.

    Args:
        conf: a path, a run folder, or a name under ./conf or the shipped configuration.
        overrides: `key=value` in Hydra's grammar; `group=option` replaces a whole section.
        world_size: number of processes, which the batch size must divide over.

    Raises:
        ConfigError: every fault that was found, of files, keys, values, plugins and their combination.
    """
    path = locate(conf)
    composition = compose(path, overrides)
    problems = list(composition.problems)
    if not composition.complete:
        raise ConfigError(problems, shown(path))
    broken_plugins = _load_plugins(composition)
    rebuild()
    config, faults = _validate(composition, world_size)
    if broken_plugins:
        # What a plugin would have registered is unknown now, so complaints about names prove nothing.
        faults = [fault for fault in faults if not fault.path.endswith(".name")]
    known = {problem.path for problem in problems}
    problems += broken_plugins + [fault for fault in faults if fault.path not in known]
    if problems or config is None:
        raise ConfigError(problems, shown(path))
    data = config.model_dump(mode="json")
    provenance = composition.origins.of_leaves(data)
    return LoadedConfig(config, data, provenance, path, tuple(overrides))


def load_saved(path: str | Path) -> LoadedConfig:
    """The configuration of a run folder, with the origins that were saved beside it.

    Raises:
        ConfigError: it is not a run folder, or the configuration is not valid any more.
    """
    loaded = load(str(path))
    saved = loaded.path.with_name(PROVENANCE)
    if not saved.is_file():
        return loaded
    try:
        provenance = json.loads(saved.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError([Problem("", f"is not JSON: {error}", shown(saved))]) from error
    return replace(
        loaded, provenance={key: provenance.get(key, place) for key, place in loaded.provenance.items()}
    )


def save(loaded: LoadedConfig, run_dir: Path) -> None:
    """Write the resolved configuration, which `conf=` can load again, and the origin of each value."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / CONFIG).write_text(text.dump(loaded.data), encoding="utf-8")
    provenance = json.dumps(loaded.provenance, indent=1, ensure_ascii=False)
    (run_dir / PROVENANCE).write_text(f"{provenance}\n", encoding="utf-8")


def _load_plugins(composition: Composition) -> list[Problem]:
    names = composition.data.get("plugins", [])
    if not isinstance(names, list):
        return []
    problems = []
    for number, name in enumerate(names):
        try:
            plugins.load([name] if isinstance(name, str) else [])
        except PluginError as error:
            key = f"plugins.{number}"
            problems.append(Problem(key, str(error), composition.origins.place(key)))
    return problems


def _validate(composition: Composition, world_size: int) -> tuple[RunConfig | None, list[Problem]]:
    """The run's configuration unless there are problems; the checks see the sections that are valid."""
    data, origins = composition.data, composition.origins
    config = None
    problems: list[Problem] = []
    try:
        config = RunConfig.model_validate_json(json.dumps(data), strict=True)
        sections: checks.Sections = {key: getattr(config, key) for key in RunConfig.model_fields}
    except ValidationError as error:
        problems = translate(error, RunConfig, data, origins)
        sections = _valid_sections(data)
    for problem in checks.check(sections, world_size):
        problems.append(replace(problem, where=origins.place(problem.path)))
    return config, problems


def _valid_sections(data: dict[str, Any]) -> checks.Sections:
    sections: checks.Sections = {}
    for key, field in RunConfig.model_fields.items():
        model = field.annotation
        if key not in data and field.is_required():
            continue
        if isinstance(model, type) and issubclass(model, Section):
            try:
                sections[key] = model.model_validate_json(json.dumps(data.get(key, {})), strict=True)
            except ValidationError:
                continue
    return sections
