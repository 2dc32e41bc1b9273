"""Paths as users write them. A name that the system refuses even to look up (too long, a NUL) names nothing.

`pathlib` raises OSError for such a name, and RuntimeError for the home of a user who does not exist.
"""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by that home, where there is one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def as_text(name: str) -> str:
    """A name of a file as one line of text: a byte that is no UTF-8 becomes `\\xe9`, a line end `\\n`."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def exists(path: Path) -> bool:
    """Whether anything is there."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: Path) -> bool:
    """Whether a file is there."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a folder is there."""
    return os.path.isdir(path)  # noqa: PTH112
