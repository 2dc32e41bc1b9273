"""Runs that differ in nothing but their seed, together as one arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from framework.config.provenance import is_leaf, walk
from framework.config.text import scalar
from framework.errors import UserError
from framework.run_folder.same_run import MAY_DIFFER
from framework.study.results import Result

_NO_PART_OF_AN_ARM = ("seed", "name", *(key for key in MAY_DIFFER if key != "engine"))


@dataclass(frozen=True)
class Tried:
    """A candidate of an arm: its overrides, its selection value per seed, and what they are on average.

    Attributes:
        value: the mean over seeds; None if a run has no value.
    """

    name: str
    overrides: tuple[str, ...]
    by_seed: Mapping[int, float | None]
    value: float | None


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: what differs from the other arms.
        results: seed -> its run; of the chosen candidate alone.
        overrides: the words that make it; empty for runs that were given by their folders.
        recipe: of which it is the last phase; empty where it is one run.
        tried: all candidates, none where nothing was tuned.
        chosen: the name of the chosen one.
        missing: seed -> why there is no result.
    """

    name: str
    results: Mapping[int, Result]
    overrides: tuple[str, ...] = ()
    recipe: str = ""
    tried: tuple[Tried, ...] = ()
    chosen: str = ""
    missing: Mapping[int, str] = field(default_factory=dict)


def arms_of(results: Sequence[Result]) -> list[Arm]:
    """Sort runs into arms, in the order of their first runs.

    Raises:
        UserError: two runs of one arm have one seed.
    """
    arms: list[dict[int, Result]] = []
    configs: list[dict[str, str]] = []
    for result in results:
        config = _settings(result.config)
        if config not in configs:
            configs.append(config)
            arms.append({})
        arm = arms[configs.index(config)]
        if result.seed in arm:
            both = f"{arm[result.seed].folder} and {result.folder}"
            raise UserError(f"{both} are the same run (seed {result.seed}): give one of them")
        arm[result.seed] = result
    return [Arm(name, runs) for name, runs in zip(_names(configs), arms, strict=True)]


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Every value that is part of an arm, as text: there a NaN equals itself."""
    return {
        key: scalar(value)
        for key, value in walk(dict(config))
        if is_leaf(value) and not any(key == own or key.startswith(f"{own}.") for own in _NO_PART_OF_AN_ARM)
    }


def _names(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """What differs: the name of a component, and of its values only those by which others of it differ."""
    keys = dict.fromkeys(key for config in configs for key in config)
    different = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    named = [key for key in different if key.endswith(".name")]
    names = []
    for config in configs:
        parts = [config[key] for key in named if key in config]
        for key in different:
            if key in named or key not in config:
                continue
            # Values below another component differ as a matter of course.
            above = [name for name in named if key.startswith(name.removesuffix("name"))]
            alike = [other for other in configs if all(other.get(name) == config.get(name) for name in above)]
            if len({other.get(key) for other in alike}) > 1:
                parts.append(f"{key.rpartition('.')[2]}={config[key]}")
        names.append(",".join(parts) or "run")
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return names
