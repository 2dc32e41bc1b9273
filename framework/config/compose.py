"""From a run file and overrides to one plain dictionary, with the origin of every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

from framework.config import overrides as overrides_module
from framework.config.defaults import Defaults, Part
from framework.config.document import first_line
from framework.config.overrides import names_another
from framework.config.provenance import Origins
from framework.config.sources import SearchPath, shown
from framework.errors import Problem

#: deeper than any sensible file; an interpolation that contains itself would go on for ever
MAX_DEPTH = 40


@dataclass(frozen=True)
class Composition:
    """What the files and the command line say together, before validation.

    Attributes:
        data: plain values, interpolations resolved; values with a problem are left out.
        origins: where each was written.
        problems: everything that was wrong so far.
        complete: whether the files could be merged at all.
    """

    data: dict[str, Any]
    origins: Origins
    problems: list[Problem]
    complete: bool


def compose(file: Path, overrides: Sequence[str]) -> Composition:
    """Merge `file`, what its defaults list names, and `overrides`."""
    file = file.resolve()
    search = SearchPath.of(file)
    origins = Origins(shown(file))
    problems: list[Problem] = []
    parsed = overrides_module.parse(overrides, search, problems)
    parts = Defaults(search, parsed, problems).parts(file)
    if not parts:
        return Composition({}, origins, problems, complete=False)
    merged: dict[str, Any] = {}
    # A group chosen on the command line replaces its whole section, whatever the run file added to it.
    for part in (part for part in parts if part.swapped is None):
        _merge(merged, part, origins)
    for group in parsed.groups:
        _remove(merged, group, origins)
    for part in (part for part in parts if part.swapped is not None):
        _merge(merged, part, origins)
    config = OmegaConf.create(merged)
    problems += overrides_module.apply(parsed.values, config, origins)
    data = _plain(config, "", origins, problems)
    assert isinstance(data, dict)
    return Composition(data, origins, problems, complete=True)


def _merge(config: dict[str, Any], part: Part, origins: Origins) -> None:
    values = part.document.values
    for key in reversed(part.package.split(".") if part.package else []):
        values = {key: values}
    _merge_into(config, values, "", origins)
    origins.add_document(part.document, part.package)


def _merge_into(config: dict[str, Any], values: dict[str, Any], prefix: str, origins: Origins) -> None:
    """Mappings merge; a list or a single value replaces whatever was there, and so does another component."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if not isinstance(value, dict):
            config[key] = value
            continue
        if not isinstance(config.get(key), dict) or names_another(value, config[key]):
            config[key] = {}
            origins.drop(path)
        _merge_into(config[key], value, f"{path}.", origins)


def _remove(config: dict[str, Any], group: str, origins: Origins) -> None:
    *sections, last = group.split("/")
    for section in sections:
        inner = config.get(section)
        config = inner if isinstance(inner, dict) else {}
    config.pop(last, None)
    origins.drop(group.replace("/", "."))


def _plain(node: Any, prefix: str, origins: Origins, problems: list[Problem]) -> Any:
    """Resolve interpolations one by one, so that each one that fails is reported with its place."""
    if not isinstance(node, (DictConfig, ListConfig)):
        return node
    resolved: dict[str, Any] = {}
    keys: list[Any] = list(range(len(node))) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        path = f"{prefix}{key}"
        try:
            if OmegaConf.is_missing(node, key):
                problems.append(Problem(path, "needs a value in place of ???", origins.place(path)))
                continue
            value = node[key]
        except (OmegaConfBaseException, RecursionError) as error:
            problems.append(Problem(path, _interpolation_fault(error), origins.place(path)))
            continue
        if prefix.count(".") > MAX_DEPTH:
            problems.append(Problem(path, "an interpolation that contains itself", origins.place(path)))
            continue
        if not isinstance(value, (DictConfig, ListConfig, str, int, float, type(None))):
            message = f"must be text, a number, true, false or null; got {type(value).__name__}"
            problems.append(Problem(path, message, origins.place(path)))
            continue
        resolved[str(key)] = _plain(value, f"{path}.", origins, problems)
    return resolved if isinstance(node, DictConfig) else list(resolved.values())


def _interpolation_fault(error: Exception) -> str:
    if isinstance(error, InterpolationKeyError):
        return str(first_line(error)[0].lower() + first_line(error)[1:])
    if isinstance(error, InterpolationToMissingValueError):
        return "refers to a value that is still ???"
    message = first_line(error)
    if isinstance(error, RecursionError) or "ecursive" in message or "parent node" in message:
        return "the interpolation refers to itself"
    _, _, cause = message.partition("resolving interpolation: ")
    return f"the interpolation cannot be resolved: {cause.strip(chr(34)) or message}"
