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
    config = OmegaConf.create({})
    # A group chosen on the command line replaces its whole section, whatever the run file added to it.
    for part in (part for part in parts if part.swapped is None):
        config = _merge(config, part, origins)
    for group in parsed.groups:
        _remove(config, group.replace("/", "."), origins)
    for part in (part for part in parts if part.swapped is not None):
        config = _merge(config, part, origins)
    problems += overrides_module.apply(parsed.values, config, origins)
    data = _plain(config, "", origins, problems)
    assert isinstance(data, dict)
    return Composition(data, origins, problems, complete=True)


def _merge(config: DictConfig, part: Part, origins: Origins) -> DictConfig:
    values: dict[str, Any] = part.document.values
    for key in reversed(part.package.split(".") if part.package else []):
        values = {key: values}
    merged = OmegaConf.merge(config, values)
    assert isinstance(merged, DictConfig)
    origins.add_document(part.document, part.package)
    return merged


def _remove(config: DictConfig, key: str, origins: Origins) -> None:
    section, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, section) if section else config
    if isinstance(parent, DictConfig):
        parent.pop(last, None)
    origins.drop(key)


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
