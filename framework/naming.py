"""What a message about a name says beside it: the valid one that comes nearest, or all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for the valid name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def listed(names: Iterable[str], label: str = "one of") -> str:
    """` (one of: a, b)`, or nothing when there are none."""
    text = ", ".join(names)
    return f" ({label}: {text})" if text else ""
