"""What pydantic found as plain sentences, with places and nearest names; and how problems are printed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from framework.config.fields import model_at
from framework.config.provenance import Origins
from framework.errors import Problem
from framework.naming import listed, nearest

MAX_SHOWN = 60
MAX_PATH_WIDTH = 40

#: pydantic's error type -> what was expected, with the numbers of its context
EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "needs a value",
    "union_tag_not_found": lambda context: "needs a `name`",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be text",
    "bool_type": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a section of `key: value` lines",
    "model_type": lambda _: "must be a section of `key: value` lines",
    "model_attributes_type": lambda _: "must be a section of `key: value` lines",
    "none_required": lambda _: "must be null",
    "greater_than": lambda context: f"must be greater than {_number(context['gt'])}",
    "greater_than_equal": lambda context: f"must be at least {_number(context['ge'])}",
    "less_than": lambda context: f"must be less than {_number(context['lt'])}",
    "less_than_equal": lambda context: f"must be at most {_number(context['le'])}",
    "multiple_of": lambda context: f"must be a multiple of {_number(context['multiple_of'])}",
    "string_pattern_mismatch": lambda context: f"must match {context['pattern']}",
    "string_too_short": lambda context: f"needs at least {context['min_length']} character(s)",
    "too_short": lambda context: f"needs at least {context['min_length']} item(s)",
    "too_long": lambda context: f"takes at most {context['max_length']} item(s)",
    "value_error": lambda context: str(context["error"]),
    "json_invalid": lambda _: "holds text that is not Unicode",
}
WITHOUT_VALUE = {
    "json_invalid",
    "missing",
    "union_tag_not_found",
    "extra_forbidden",
    "value_error",
    "union_tag_invalid",
}


@dataclass
class _Fault:
    """One error of pydantic, its location translated into the user's key path."""

    path: tuple[str | int, ...]
    expected: str
    hint: str
    of_union: bool


def translate(
    error: ValidationError, root: type[BaseModel], data: dict[str, Any], origins: Origins
) -> list[Problem]:
    """One problem per key; the alternatives that a key could have been are joined by `or`."""
    faults = [_fault(details, root, data) for details in error.errors(include_url=False)]
    merged: dict[tuple[str | int, ...], list[_Fault]] = {}
    for fault in faults:
        deeper = any(fault.of_union and f.path[: len(fault.path)] == fault.path != f.path for f in faults)
        if not deeper:
            merged.setdefault(fault.path, []).append(fault)
    problems = []
    for path, alternatives in merged.items():
        key = ".".join(str(part) for part in path)
        expected = ", or ".join(dict.fromkeys(fault.expected for fault in alternatives))
        expected = expected.replace(", or must be ", ", or ")
        hint = next((fault.hint for fault in reversed(alternatives)), "")
        problems.append(Problem(key, expected + hint, origins.place(key)))
    return problems


def _fault(details: ErrorDetails, root: type[BaseModel], data: dict[str, Any]) -> _Fault:
    kind, context = details["type"], details.get("ctx", {})
    path, of_union = _key_path(details["loc"], data, kind)
    got = "" if kind in WITHOUT_VALUE else f"; got {_shown(details['input'])}"
    if kind == "extra_forbidden":
        model = model_at(root, path[:-1], data)
        valid = list(model.model_fields) if model else []
        offer = nearest(str(path[-1]), valid) or listed(valid)
        return _Fault(path, "unknown key", offer, of_union)
    if kind == "union_tag_invalid":
        valid = re.findall(r"'([^']*)'", context["expected_tags"])
        name = str(context["tag"])
        return _Fault(
            (*path, "name"), f"there is no '{name}'", nearest(name, valid) + listed(valid), of_union
        )
    if kind == "union_tag_not_found":
        return _Fault(path, EXPECTED[kind](context), "", of_union)
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        offer = nearest(details["input"], valid) if isinstance(details["input"], str) else ""
        return _Fault(path, f"must be {context['expected']}", got + offer, of_union)
    if kind in EXPECTED:
        return _Fault(path, EXPECTED[kind](context), got, of_union)
    return _Fault(path, details["msg"][0].lower() + details["msg"][1:], got, of_union)


def _key_path(location: tuple[str | int, ...], data: Any, kind: str) -> tuple[tuple[str | int, ...], bool]:
    """The location without the tags of unions, and whether it had a tag that is not a component's name."""
    path: list[str | int] = []
    of_union = False
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(data, dict) and data.get("name") == part and not (last and kind == "extra_forbidden"):
            continue
        # A list that is too short lacks what the location names.
        keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
        if part in keys:
            path.append(part)
            data = data[part]
        elif last and kind == "missing":
            path.append(part)
        else:
            of_union = True
    return tuple(path), of_union


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    """A value as YAML would write it, cut to a readable length."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def render(problems: Sequence[Problem], source: str) -> str:
    """The message for a terminal: a headline with the file, then one aligned line per problem."""
    if len(problems) == 1 and not (problems[0].path and source):
        return str(problems[0])
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    width = min(max(len(problem.path) for problem in problems), MAX_PATH_WIDTH)
    texts = [
        f"{problem.path:<{width}}  {problem.message}" if width else problem.message for problem in problems
    ]
    lines = [
        f"  {text}  ({problem.where})" if problem.where else f"  {text}"
        for text, problem in zip(texts, problems, strict=True)
    ]
    return "\n".join([f"{source}: {count}" if source else count, *lines])
