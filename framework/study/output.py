"""How studies print: lines, tables, and a board in place where somebody looks on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from framework.study.tables import rich_table


def is_live() -> bool:
    """Whether what is on the screen can be drawn over."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_line(console: Console, text: str = "") -> None:
    """A line of any length, which the terminal may wrap."""
    console.print(Text(text), soft_wrap=True)


def print_table(console: Console, title: str, headings: Sequence[str], rows: list[list[str]]) -> None:
    """A table under a title, after an empty line."""
    print_line(console)
    with console.capture() as capture:
        console.print(rich_table(title, headings, rows, console.width))
    # Rich fills lines with spaces, which a file does not need.
    for line in capture.get().splitlines():
        console.out(line.rstrip(), highlight=False)
