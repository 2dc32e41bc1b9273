"""`key=value` arguments: Hydra's grammar, sorted into choices of a group and changes of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.config.document import first_line
from framework.config.provenance import COMMAND_LINE, Origins
from framework.config.sources import SearchPath
from framework.errors import Problem
from framework.naming import listed, nearest


@dataclass(frozen=True)
class Overrides:
    """The overrides of one command line.

    Attributes:
        groups: group -> chosen option, None to leave the group out (`~policy`).
        values: changes of single values or sections, in the order written.
    """

    groups: dict[str, str | None]
    values: tuple[Override, ...]


def parse(texts: Sequence[str], search: SearchPath, problems: list[Problem]) -> Overrides:
    """Read every override; those that cannot be read are added to `problems`."""
    parser = OverridesParser.create()
    groups: dict[str, str | None] = {}
    values: list[Override] = []
    for text in texts:
        try:
            override = parser.parse_override(text)
        except (HydraException, RecursionError) as error:
            reason = first_line(error) if isinstance(error, HydraException) else "it is nested too deeply"
            problems.append(_malformed(text, reason))
            continue
        group = override.key_or_group
        value = override.value()
        if not group:
            problems.append(_malformed(text, "there is no key before ="))
        elif override.package is not None:
            problems.append(_malformed(text, "@package is for defaults lists"))
        elif override.is_sweep_override():
            problems.append(
                _malformed(text, "a list is written [a,b]; several runs are not started from here")
            )
        elif search.is_group(group) and override.is_delete() and value is None:
            groups[group] = None
        elif search.is_group(group) and isinstance(value, str):
            options = search.options(group)
            if search.find(f"{group}/{value}") is None:
                message = f"there is no {group} '{value}'{nearest(value, options)}{listed(options)}"
                problems.append(Problem(group, message, COMMAND_LINE))
            else:
                groups[group] = value
        else:
            values.append(override)
    return Overrides(groups, tuple(values))


def apply(overrides: Sequence[Override], config: DictConfig, origins: Origins) -> list[Problem]:
    """Change `config` by the value overrides, in order; returns those that cannot be applied."""
    problems = []
    for override in overrides:
        key = override.key_or_group
        try:
            message = _delete(key, config) if override.is_delete() else _set(override, config, origins)
        except (OmegaConfBaseException, ValueError, RecursionError) as error:
            message = f"cannot be set: {first_line(error)}"
        if message:
            problems.append(Problem(key, message, COMMAND_LINE))
        elif override.is_delete():
            origins.drop(key)
        else:
            origins.add(key, override.value(), COMMAND_LINE)
    return problems


def names_another(new: Any, old: Any) -> bool:
    """Whether `new` is a section of another component than `old`, whose options cannot be meant for it."""
    return "name" in new and "name" in old and new["name"] != old["name"]


def _set(override: Override, config: DictConfig, origins: Origins) -> str:
    """Whether a YAML file mentions the key or not: the schema knows which keys there are."""
    key, value = override.key_or_group, override.value()
    if (
        override.is_add()
        and not isinstance(value, (dict, list))
        and OmegaConf.select(config, key) is not None
    ):
        return f"is set already; write {key}=… without the +"
    current = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    replaces = isinstance(value, dict) and isinstance(current, DictConfig) and names_another(value, current)
    if replaces:
        origins.drop(key)
    OmegaConf.update(config, key, value, merge=not replaces, force_add=True)
    return ""


def _delete(key: str, config: DictConfig) -> str:
    section, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, section) if section else config
    if isinstance(parent, DictConfig) and last in parent:
        del parent[last]
    elif isinstance(parent, ListConfig) and last.isdigit() and int(last) < len(parent):
        del parent[int(last)]
    else:
        return "cannot be deleted: no file sets it"
    return ""


def _malformed(text: str, reason: str) -> Problem:
    return Problem("", f"override '{text}' cannot be read: {reason}; expected key=value", COMMAND_LINE)
