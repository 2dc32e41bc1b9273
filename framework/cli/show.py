"""usage: python -m framework show conf=FILE [SECTION] [key=value ...]

Print the resolved configuration as YAML. Each value has a comment that says where it was written:
a file and line, the command line, or the default of the component.

  SECTION         show only this part, e.g. policy or data.source
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from framework.cli.arguments import parse
from framework.config.load import LoadedConfig
from framework.config.provenance import walk
from framework.config.text import lines
from framework.errors import EXIT_OK, UserError
from framework.naming import nearest

MAX_COLUMN = 56


def main(words: Sequence[str]) -> int:
    """Print one configuration."""
    arguments = parse(words)
    arguments.expect_names(0, 1, "show conf=FILE [SECTION] [key=value ...]")
    loaded = arguments.load()
    section = arguments.names[0] if arguments.names else ""
    rows = _rows(loaded, section)
    column = min(max(len(line) for line, _ in rows), MAX_COLUMN)
    for line, origin in rows:
        _print(line, f"{' ' * max(column - len(line), 0)}  # {origin}" if origin else "")
    return EXIT_OK


def _rows(loaded: LoadedConfig, section: str) -> list[tuple[str, str]]:
    """(line, origin) of each line of the section; headings have no origin."""
    data = loaded.data
    if section:
        everything = dict(walk(data))
        if section not in everything:
            raise UserError(f"the configuration has no '{section}'{nearest(section, everything)}")
        data = everything[section]
        for part in reversed(section.split(".")):
            data = {part: data}
    return [(line, loaded.origin(key) if key else "") for key, line in lines(data)]


def _print(line: str, comment: str) -> None:
    dim, reset = ("\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{line}{dim}{comment}{reset}" if comment else line)
