"""Overrides as studies write them, and the places that they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from framework.config.provenance import COMMAND_LINE
from framework.errors import Problem

#: an override, and the place where it was written
Written = tuple[str, str]


def typed(words: Sequence[str]) -> list[Written]:
    """Overrides of the command line."""
    return [(word, COMMAND_LINE) for word in words]


def quoted(text: str) -> str:
    """A text as an override holds it whatever is in it."""
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        return text
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + "'"


def value_word(value: Any) -> str:
    """A plain value as an override holds it."""
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def placed(problem: Problem, words: Sequence[Written]) -> Problem:
    """A problem of an override with the place where that was written."""
    if problem.where != COMMAND_LINE:
        return problem
    for text, place in reversed(words):
        key = text.partition("=")[0].lstrip("+~")
        if problem.path == key or problem.path.startswith(f"{key}.") or f"'{text}'" in problem.message:
            return replace(problem, where=place)
    return problem
