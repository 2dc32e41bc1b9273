"""Where each value of a composed configuration was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.config.document import Document

COMMAND_LINE = "command line"
DEFAULT = "default"


class Origins:
    """Dotted key -> the place that set it last. Sections and list items have places too."""

    def __init__(self, source: str) -> None:
        self._places: dict[str, str] = {}
        self._source = source

    def add_document(self, document: Document, package: str) -> None:
        """The document was merged at `package`, a dotted key or empty for the top."""
        prefix = f"{package}." if package else ""
        if package:
            self._put(package, {}, document.place(""))
        for key, value in walk(document.values):
            self._put(f"{prefix}{key}", value, document.place(key))

    def add(self, key: str, value: Any, place: str) -> None:
        """`key` was set to `value`, with all that is in it, at `place`."""
        section = key.rpartition(".")[0]
        while section and section not in self._places:
            self._places[section] = place
            section = section.rpartition(".")[0]
        self._put(key, value, place)
        for below, inner in walk(value, f"{key}."):
            self._put(below, inner, place)

    def drop(self, key: str) -> None:
        """`key` and all below it are gone."""
        for other in [other for other in self._places if other == key or other.startswith(f"{key}.")]:
            del self._places[other]

    def place(self, key: str) -> str:
        """The place of `key`, else of the nearest section around it, else the run file."""
        while key:
            if key in self._places:
                return self._places[key]
            key = key.rpartition(".")[0]
        return self._source

    def of_leaves(self, data: dict[str, Any]) -> dict[str, str]:
        """The place of every value of `data` that is not a section; those nobody wrote are defaults."""
        return {key: self._places.get(key, DEFAULT) for key, value in walk(data) if is_leaf(value)}

    def _put(self, key: str, value: Any, place: str) -> None:
        # Mappings merge; a list or a single value replaces whatever was there.
        if not isinstance(value, dict):
            self.drop(key)
        self._places[key] = place


def walk(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key below `value` with what it holds, sections before their contents."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield f"{prefix}{key}", inner
        yield from walk(inner, f"{prefix}{key}.")


def is_leaf(value: Any) -> bool:
    """Whether `value` holds nothing further: a single value, or an empty section or list."""
    return not isinstance(value, (dict, list)) or not value
