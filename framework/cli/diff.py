"""usage: python -m framework diff A [key=value ...] B [key=value ...]

Print the values that differ between two configurations, side by side with where each was written.
A and B are files, names under conf/, or run folders; the overrides after each belong to it.

exit codes: 0 the same, 1 different, 2 something is wrong
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from framework.cli.output import console
from framework.config.load import LoadedConfig, load, load_saved
from framework.config.provenance import is_leaf, walk
from framework.config.sources import locate, shown
from framework.config.text import scalar
from framework.errors import EXIT_OK, UserError

EXIT_DIFFERENT = 1
ABSENT = "-"


def main(words: Sequence[str]) -> int:
    """Compare two configurations."""
    left, right = (_load(name, overrides) for name, overrides in _sides(words))
    rows = differences(left.data, right.data)
    if not rows:
        print("no difference")
        return EXIT_OK
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("key", _title(left), _title(right)):
        table.add_column(Text(heading), overflow="fold")
    for key, one, other in rows:
        table.add_row(Text(key), _cell(one, left.origin(key)), _cell(other, right.origin(key)))
    console().print(table)
    return EXIT_DIFFERENT


def differences(left: dict[str, object], right: dict[str, object]) -> list[tuple[str, str, str]]:
    """(key, left value, right value) of every value that is not the same on both sides."""
    one = {key: scalar(value) for key, value in walk(left) if is_leaf(value)}
    other = {key: scalar(value) for key, value in walk(right) if is_leaf(value)}
    keys = dict.fromkeys([*one, *other])
    pairs = ((key, one.get(key, ABSENT), other.get(key, ABSENT)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def _title(loaded: LoadedConfig) -> str:
    return " ".join([shown(loaded.path), *loaded.overrides])


def _cell(value: str, origin: str) -> Text:
    return Text(value) if value == ABSENT else Text.assemble(value, "  ", (origin, "dim"))


def _sides(words: Sequence[str]) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    sides: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("-"):
            raise UserError(f"unknown option {word}")
        if word.startswith("conf="):
            sides.append((word.removeprefix("conf="), []))
        elif "=" not in word and not word.startswith("~"):
            sides.append((word, []))
        elif sides:
            sides[-1][1].append(word)
        else:
            raise UserError(f"'{word}' stands before the configuration it belongs to")
    if len(sides) != 2:
        raise UserError(f"usage: python -m framework diff A B; got {len(sides)} configuration(s)")
    return sides[0], sides[1]


def _load(name: str, overrides: list[str]) -> LoadedConfig:
    return load(name, overrides) if overrides else load_saved(locate(name))
