"""Shard names written short: braces as in a shell, wildcards for local files."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable

from framework.data.shards.download import is_remote

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)$")
_MOST = 10_000_000


def expand(pattern: str) -> list[str]:
    """All names that `{000..127}` and `{a,b}` in `pattern` stand for, from left to right.

    Raises:
        ValueError: a brace is not closed, or the names are too many to be meant.
    """
    found = _BRACES.search(pattern)
    if found is None:
        if "{" in pattern or "}" in pattern:
            raise ValueError(f"'{pattern}': braces do not match")
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    numbers = _RANGE.match(found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        step = 1 if last >= first else -1
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        if abs(last - first) > _MOST:
            raise ValueError(f"'{pattern}' stands for more than {_MOST:,} names")
        middle: Iterable[str] = (f"{number:0{width}}" for number in range(first, last + step, step))
    elif "," in found[1]:
        middle = found[1].split(",")
    else:
        raise ValueError(f"'{pattern}': braces hold a range like {{000..127}} or a list like {{a,b}}")
    ends = expand(after)
    return [before + piece + end for piece in middle for end in ends]


def local_path(name: str) -> str:
    """The path that `file:PATH` or `file://PATH` names; other text as it is."""
    for prefix in ("file://", "file:"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def files(pattern: str) -> list[str]:
    """The files that braces and wildcards name, those of a wildcard sorted; URLs have braces alone.

    Raises:
        ValueError: braces do not match, or a wildcard finds nothing.
    """
    found: list[str] = []
    for name in map(local_path, expand(pattern)):
        if not is_remote(name) and any(character in name for character in "*?["):
            matches = sorted(glob.glob(name))  # noqa: PTH207
            if not matches:
                raise ValueError(f"no file matches '{name}'")
            found += matches
        else:
            found.append(name)
    return found
