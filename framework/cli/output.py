"""Where verbs print: as wide as the terminal, or wide enough for one line per entry in a pipe."""

from __future__ import annotations

import sys

from rich.console import Console

PIPE_WIDTH = 200


def console() -> Console:
    """A console on standard output, looked up now."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False)
