"""Reads ARFF files: numeric and nominal attributes, quoted names, `?` for a missing value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from framework.errors import DataError

#: one value: quoted by ' or " with backslash escapes, or bare up to the next comma
_VALUE = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)""")
_ATTRIBUTE = re.compile(r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(\S+))\s+(.*)""", re.I)
_NUMERIC = {"numeric", "real", "integer"}


@dataclass(frozen=True)
class Arff:
    """The content of an ARFF file.

    Attributes:
        names: of the attributes.
        nominal: for each attribute its declared values, None for a number, empty for free text.
        rows: the values as text, None for `?`.
    """

    names: list[str]
    nominal: list[tuple[str, ...] | None]
    rows: list[list[str | None]]


def read_arff(path: Path) -> Arff:
    """Parse the file.

    Raises:
        DataError: it is no ARFF file, or a line does not fit the declarations; the message has the line.
    """
    content = Arff([], [], [])
    in_data = False
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if not text or text.startswith("%"):
                continue
            where = f"{path}, line {number}"
            if in_data:
                content.rows.append(_row(text, content, where))
            elif text.lower().startswith("@data"):
                in_data = True
            elif text.lower().startswith("@attribute"):
                name, kind = _attribute(text, where)
                content.names.append(name)
                content.nominal.append(kind)
            elif not text.lower().startswith("@relation"):
                raise DataError(f"{where}: not an ARFF declaration: {text[:60]}")
    if not in_data or not content.names:
        raise DataError(f"{path}: not a whole ARFF file: no @attribute or no @data")
    return content


def _attribute(text: str, where: str) -> tuple[str, tuple[str, ...] | None]:
    match = _ATTRIBUTE.fullmatch(text)
    if match is None:
        raise DataError(f"{where}: expected '@attribute NAME TYPE', found: {text[:60]}")
    name, kind = _unquoted(match), match.group(4).strip()
    if kind.startswith("{") and kind.endswith("}"):
        return name, tuple(_values(kind[1:-1]))
    if kind.split()[0].lower() in _NUMERIC:
        return name, None
    if kind.lower() == "string":
        return name, ()
    raise DataError(f"{where}: type '{kind}' is not read (numeric, real, integer, string or {{a, b}} are)")


def _row(text: str, content: Arff, where: str) -> list[str | None]:
    if text.startswith("{"):
        raise DataError(f"{where}: sparse ARFF rows are not read")
    values = _values(text) if "'" in text or '"' in text else [value.strip() for value in text.split(",")]
    if len(values) != len(content.names):
        raise DataError(f"{where}: {len(values)} values, but {len(content.names)} attributes are declared")
    row = [None if value == "?" else value for value in values]
    for name, nominal, value in zip(content.names, content.nominal, row, strict=True):
        if nominal and value is not None and value not in nominal:
            raise DataError(f"{where}: '{value}' is not a declared value of '{name}' ({', '.join(nominal)})")
    return row


def _values(text: str) -> list[str]:
    """The comma-separated values of a line."""
    values: list[str] = []
    place = 0
    while place < len(text):
        match = _VALUE.match(text, place)
        if match is None:
            # a quote that never ends: the rest is one value, which then is of no declared kind
            return [*values, text[place:]]
        values.append(_unquoted(match))
        place = match.end()
    return [*values, ""] if text.rstrip().endswith(",") else values


def _unquoted(match: re.Match[str]) -> str:
    for quoted in match.group(1, 2):
        if quoted is not None:
            return re.sub(r"\\(.)", r"\1", quoted)
    return (match.group(3) or "").strip()
