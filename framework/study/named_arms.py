"""Arms that differ in more than one key, each with a name of its own: a file for `arms=`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from framework.config.document import read
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import ARMS, SearchPath, listed
from framework.errors import ConfigError, Problem
from framework.options import nearest


@dataclass(frozen=True)
class NamedArm:
    """One line of the file.

    Attributes:
        name: the key.
        overrides: what this arm adds to the run file, as on a command line.
        place: file and line, for messages.
    """

    name: str
    overrides: tuple[str, ...]
    place: str


def read_arms(file: str) -> list[NamedArm]:
    """The arms of a YAML file of lines `name: [key=value, ...]`, in its order.

    Args:
        file: a path, or the name of a file in `conf/arms`.

    Raises:
        ConfigError: there is no such file, or every line of it that is no arm.
    """
    problems: list[Problem] = []
    document = read(_locate(file), problems)
    if document is None:
        raise ConfigError(problems)
    values: Mapping[object, object] = {**document.values}
    if document.defaults:
        problems.append(Problem("", "a file of arms has no defaults list", document.place("defaults")))
    arms = []
    for name, overrides in values.items():
        place = document.place(str(name))
        if not str(name).strip():
            problems.append(Problem("", "an arm needs a name", place))
        elif not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
            message = 'must be a list of overrides, e.g. [policy=erm, "model.hidden=[64]"]'
            problems.append(Problem(str(name), message, place))
        else:
            arms.append(NamedArm(str(name), tuple(overrides), place))
    if problems:
        raise ConfigError(problems)
    return arms


def _locate(file: str) -> Path:
    path = Path(file)
    if path.suffix == ".yaml" and path.is_file():
        return path
    search = SearchPath.of(path)
    found = search.find(f"{ARMS}/{file}") if file else None
    if found is None:
        names = search.options(ARMS)
        known = listed(names).replace("one of", "available")
        raise ConfigError([Problem("arms", f"no file of arms '{file}'{nearest(file, names)}{known}", COMMAND_LINE)])
    return found
