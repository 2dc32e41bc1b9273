"""One YAML file: its values, and the line of each of its keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.config.sources import shown
from framework.errors import Problem

MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Document:
    """A file that was read without a fault.

    Attributes:
        path: the file.
        name: the file as messages print it.
        text: what it says, as written.
        values: the same as data, without its defaults list; interpolations are still text. It is shared by
            all that read the same file, and never changed.
        defaults: its defaults list as written, or an empty list.
        lines: dotted key -> line number, list items and the defaults list included.
    """

    path: Path
    name: str
    text: str
    values: dict[str, Any]
    defaults: list[Any]
    lines: dict[str, int]

    def place(self, key: str) -> str:
        """`conf/policy/rgd.yaml:3`."""
        line = self.lines.get(key)
        return f"{self.name}:{line}" if line else self.name


def read(path: Path, problems: list[Problem]) -> Document | None:
    """Read a file; every fault that stops it from being used is added to `problems`."""
    name = shown(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        problems.append(Problem("", f"cannot be read: {error.strerror}", name))
        return None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        problems.append(Problem("", "is not UTF-8 text", f"{name}:{line}"))
        return None
    document, faults = _parsed(path, text, name)
    problems.extend(faults)
    return document


@lru_cache(maxsize=256)
def _parsed(path: Path, text: str, name: str) -> tuple[Document | None, tuple[Problem, ...]]:
    """The document or its faults; the runs of a comparison read the same files again and again."""
    problems: list[Problem] = []
    return _parse(path, text, name, problems), tuple(problems)


def _parse(path: Path, text: str, name: str, problems: list[Problem]) -> Document | None:
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(error, name))
        return None
    except RecursionError:
        problems.append(Problem("", "is nested too deeply", name))
        return None
    if root is None:
        problems.append(Problem("", "the file is empty", name))
        return None
    if not isinstance(root, yaml.MappingNode):
        what = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        problems.append(Problem("", f"must hold `key: value` lines; it is {what}", f"{name}:1"))
        return None
    lines: dict[str, int] = {}
    faults = _collect_lines(root, "", name, lines, ())
    if faults:
        problems.extend(faults)
        return None
    return _load(path, text, name, lines, problems)


def _load(
    path: Path, text: str, name: str, lines: dict[str, int], problems: list[Problem]
) -> Document | None:
    try:
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.YAMLError as error:
        problems.append(_syntax_problem(error, name))
        return None
    except OmegaConfBaseException as error:
        key = str(error.full_key or "")
        where = f"{name}:{lines[key]}" if key in lines else name
        problems.append(Problem(key, f"cannot be read: {first_line(error)}", where))
        return None
    except RecursionError:
        problems.append(Problem("", "is nested too deeply", name))
        return None
    except ValueError as error:  # a value that its own !!tag does not fit
        problems.append(Problem("", f"is not YAML: {first_line(error)}", name))
        return None
    assert isinstance(values, dict)
    defaults = values.pop("defaults", [])
    if not isinstance(defaults, list):
        problems.append(Problem("defaults", "must be a list", f"{name}:{lines['defaults']}"))
        return None
    named = {str(key): value for key, value in values.items()}
    return Document(path, name, text, named, defaults, lines)


def _collect_lines(
    node: yaml.Node, prefix: str, name: str, lines: dict[str, int], above: tuple[yaml.Node, ...]
) -> list[Problem]:
    """Fill `lines` with every key below `node`; returns duplicate keys and anchors that hold themselves."""
    if node in above:
        where = f"{name}:{node.start_mark.line + 1}"
        return [Problem(prefix.rstrip("."), "an anchor that contains itself", where)]
    faults: list[Problem] = []
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[f"{prefix}{index}"] = item.start_mark.line + 1
            faults += _collect_lines(item, f"{prefix}{index}.", name, lines, above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == MERGE_TAG:
                faults += _collect_lines(value_node, prefix, name, lines, above)
                continue
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                message = f"the key is given twice; first in line {seen[key]}"
                faults.append(Problem(f"{prefix}{key}", message, f"{name}:{line}"))
            seen[key] = lines[f"{prefix}{key}"] = line
            faults += _collect_lines(value_node, f"{prefix}{key}.", name, lines, above)
    return faults


def _syntax_problem(error: yaml.YAMLError, name: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem("", f"is not YAML: {first_line(error)}", name)
    mark = error.problem_mark
    context = f" {error.context}" if error.context else ""
    if error.context_mark is not None and error.context_mark.line != mark.line:
        context += f" that starts in line {error.context_mark.line + 1}"
    return Problem("", f"is not YAML: {error.problem}{context}", f"{name}:{mark.line + 1}:{mark.column + 1}")


def first_line(error: Exception) -> str:
    """The first line of a library's message; the rest names its internals."""
    return (str(error).splitlines() or [type(error).__name__])[0]
