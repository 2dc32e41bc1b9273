"""Arms that differ in more than one key, each with a name of its own: a file for `arms=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.config.document import read
from framework.config.sources import locate_arms
from framework.errors import ConfigError, Problem


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
    document = read(locate_arms(file), problems)
    if document is None:
        raise ConfigError(problems)
    if document.defaults:
        problems.append(Problem("", "a file of arms has no defaults list", document.place("defaults")))
    arms = []
    for name, overrides in document.values.items():
        place = document.place(name)
        if not name.strip() or not name.isprintable():
            problems.append(Problem("", f"an arm needs a name of one line; got {name!r}", place))
        elif not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
            message = 'must be a list of overrides, e.g. [policy=erm, "model.hidden=[64]"]'
            problems.append(Problem(name, message, place))
        else:
            arms.append(NamedArm(name, tuple(overrides), place))
    if problems:
        raise ConfigError(problems)
    return arms
