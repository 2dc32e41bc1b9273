"""Plain data as YAML lines, one value a line, that read back to the same data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from framework.config.provenance import is_leaf

#: text that no YAML reader takes for anything else
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def lines(data: dict[str, Any], prefix: str = "", indent: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, line) for every value and every heading of a section; a heading has an empty key."""
    for key, value in data.items():
        yield from _entry(f"{prefix}{key}", f"{indent}{scalar(str(key))}:", value, f"{indent}  ")


def dump(data: dict[str, Any]) -> str:
    """The whole text."""
    return "".join(f"{line}\n" for _, line in lines(data))


def _entry(path: str, head: str, value: Any, indent: str) -> Iterator[tuple[str, str]]:
    if is_leaf(value):
        yield path, f"{head} {scalar(value)}"
    elif isinstance(value, dict):
        yield "", head
        yield from lines(value, f"{path}.", indent)
    elif all(is_leaf(item) for item in value):
        yield path, f"{head} [{', '.join(scalar(item) for item in value)}]"
    else:
        yield "", head
        for number, item in enumerate(value):
            yield from _item(f"{path}.{number}", item, indent)


def _item(path: str, value: Any, indent: str) -> Iterator[tuple[str, str]]:
    """A list item: the dash stands in the indentation of its first line."""
    if isinstance(value, dict) and value:
        for number, (key, line) in enumerate(lines(value, f"{path}.", f"{indent}  ")):
            yield key, f"{indent}- {line.lstrip()}" if number == 0 else line
    else:
        yield from _entry(path, f"{indent}-", value, f"{indent}  ")


def scalar(value: Any) -> str:
    """One value, or an empty section or list."""
    if isinstance(value, str):
        if PLAIN.fullmatch(value) and value.lower() not in RESERVED:
            return value
        return json.dumps(value.replace("${", "\\${"), ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, float):
        # YAML 1.1 takes 1e-08 for text; every reader takes 1.0e-08 for a number.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value)
