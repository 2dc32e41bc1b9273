"""Arms that differ in more than one key, each with a name of its own: a file for `arms=`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from framework.config.document import Document, read
from framework.config.problems import translate
from framework.config.provenance import Origins, is_leaf
from framework.config.schema import Section
from framework.config.sources import locate_arms, shown
from framework.errors import ConfigError, Problem
from framework.study.words import Written, value_word


class ArmConfig(Section):
    """An arm that is more than a list of overrides."""

    recipe: str | None = None
    """A recipe that is run for each seed, on the run file of the comparison: a path, or a name under conf."""
    overrides: list[str] = []
    """What the arm adds to the run file; of a recipe, `PHASE:key=value` for one phase alone."""
    tune: dict[str, Annotated[list[Any], Field(min_length=2)]] = {}
    """Key -> the values that are tried for this arm alone."""


@dataclass(frozen=True)
class Axis:
    """A key that is tuned for one arm.

    Attributes:
        key: of the configuration, with `PHASE:` before it where it is that of one phase.
        values: as overrides hold them.
        place: file and line, for messages.
    """

    key: str
    values: tuple[str, ...]
    place: str

    @property
    def word(self) -> str:
        """As the command line writes it for all arms."""
        return f"tune.{self.key}={','.join(self.values)}"


@dataclass(frozen=True)
class NamedArm:
    """An arm of the file.

    Attributes:
        name: the key.
        words: what this arm adds to the run file, as on a command line.
        place: file and line, for messages.
        recipe: the file of a recipe, or its name; empty where the arm is one run.
        tune: what is tuned for this arm alone.
    """

    name: str
    words: tuple[Written, ...]
    place: str
    recipe: str = ""
    tune: tuple[Axis, ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The words without their places."""
        return tuple(text for text, _ in self.words)


def read_arms(file: str) -> list[NamedArm]:
    """The arms of a YAML file, in its order: `name: [key=value, ...]`, or a section of `ArmConfig`.

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
    arms = [_arm(name, content, document, problems) for name, content in document.values.items()]
    if problems:
        raise ConfigError(problems)
    return [arm for arm in arms if arm is not None]


def _arm(name: str, content: Any, document: Document, problems: list[Problem]) -> NamedArm | None:
    place = document.place(name)
    if not name.strip() or not name.isprintable():
        problems.append(Problem("", f"an arm needs a name of one line; got {name!r}", place))
        return None
    prefix = f"{name}." if isinstance(content, list) else f"{name}.overrides."
    if isinstance(content, list) and all(isinstance(word, str) for word in content):
        content = {"overrides": content}
    if not isinstance(content, dict):
        message = 'must be a list of overrides, e.g. [policy=erm, "model.hidden=[64]"], or a section of them'
        problems.append(Problem(name, message, place))
        return None
    origins = Origins(shown(document.path))
    origins.add_document(document, "")
    try:
        config = ArmConfig.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        found = translate(error, ArmConfig, content, Origins(""))
        problems += [
            Problem(f"{name}.{each.path}", each.message, origins.place(f"{name}.{each.path}"))
            for each in found
        ]
        return None
    words = tuple((word, document.place(f"{prefix}{k}")) for k, word in enumerate(config.overrides))
    axes = [_axis(name, key, values, document, problems) for key, values in config.tune.items()]
    return NamedArm(name, words, place, config.recipe or "", tuple(axes))


def _axis(name: str, key: str, values: list[Any], document: Document, problems: list[Problem]) -> Axis:
    place = document.place(f"{name}.tune.{key}")
    if not all(is_leaf(item) for value in values for item in (value if isinstance(value, list) else [value])):
        problems.append(Problem(f"{name}.tune.{key}", "must be single values, or lists of them", place))
    words = tuple(value_word(value) for value in values)
    if len(set(words)) < len(words):
        problems.append(Problem(f"{name}.tune.{key}", "the same value is given twice", place))
    return Axis(key, words, place)
