"""The defaults list: which files make up a configuration, in which order and at which key."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode

from framework.config.document import Document, first_line, read
from framework.config.overrides import Overrides
from framework.config.sources import SearchPath
from framework.errors import Problem
from framework.naming import listed, nearest

#: the name of each document and the dotted key that it lands at
Order = tuple[tuple[str, str], ...]
#: Hydra's answers, by the run file's name, the choices and the texts of all documents: nothing else matters,
#: and all runs of a comparison ask the same
_orders: dict[tuple[str, tuple[str, ...], frozenset[tuple[str, str]]], Order] = {}


@dataclass(frozen=True)
class Part:
    """A document, the dotted key it lands at, and the group that the command line chose it for, if any."""

    document: Document
    package: str
    swapped: str | None


@dataclass
class Defaults:
    """Follows the defaults lists of a run file.

    Attributes:
        search: where files are found.
        overrides: of the command line.
        problems: what was wrong with any file or entry.
    """

    search: SearchPath
    overrides: Overrides
    problems: list[Problem]
    _documents: dict[Path, Document | None] = field(default_factory=dict)
    _named: dict[str, Path] = field(default_factory=dict)
    _groups: set[str] = field(default_factory=set)

    def parts(self, file: Path) -> list[Part]:
        """The documents to merge, in order; an empty list if there were problems."""
        before = len(self.problems)
        self._visit(file, "")
        for group, option in self.overrides.groups.items():
            chosen = self.search.find(f"{group}/{option}") if option else None
            if chosen is not None:
                self._named[f"{group}/{option}"] = chosen
                self._visit(chosen, group)
        return self._ordered(file) if len(self.problems) == before else []

    def _visit(self, file: Path, group: str) -> None:
        """Read `file` and all that its defaults list names: so every fault is found, not the first."""
        if file in self._documents:
            return
        document = self._documents[file] = read(file, self.problems)
        for number, entry in enumerate(document.defaults if document else ()):
            assert document is not None
            place = document.place(f"defaults.{number}")
            for name, optional in self._names(entry, group, place):
                found = self.search.find(name)
                if found is not None:
                    self._named[name] = found
                    self._visit(found, name.rpartition("/")[0])
                elif not optional:
                    self._report_missing(name, place)

    def _names(self, entry: Any, group: str, place: str) -> list[tuple[str, bool]]:
        """The files an entry asks for, as `policy/rgd`, and whether they may be missing."""
        if isinstance(entry, str):
            names, optional, option_group = [entry], False, ""
        elif isinstance(entry, dict) and len(entry) == 1 and str(next(iter(entry))).strip():
            words = str(next(iter(entry))).split()
            unknown = [word for word in words[:-1] if word not in ("override", "optional")]
            if unknown:
                message = f"unknown word '{unknown[0]}'{nearest(unknown[0], ['override', 'optional'])}"
                self.problems.append(Problem("defaults", message, place))
                return []
            options = next(iter(entry.values()))
            names = options if isinstance(options, list) else [options]
            optional, option_group = "optional" in words[:-1], words[-1].partition("@")[0]
            absolute = option_group if option_group.startswith("/") else f"{group}/{option_group}"
            self._groups.add(absolute.strip("/"))
            if absolute.strip("/") in self.overrides.groups:
                return []
        else:
            message = "each entry is a file name or `group: option`"
            self.problems.append(Problem("defaults", message, place))
            return []
        found = []
        for name in names:
            if isinstance(name, str) and name != "_self_" and "${" not in name:
                path = "/".join(part for part in (option_group, name.partition("@")[0]) if part)
                found.append(((path if path.startswith("/") else f"{group}/{path}").strip("/"), optional))
        return found

    def _report_missing(self, name: str, place: str) -> None:
        group, _, option = name.rpartition("/")
        options = self.search.options(group)
        if group and not self.search.is_group(group):
            message = f"there is no group '{group}'"
        else:
            message = f"there is no {group or 'file'} '{option}'{nearest(option, options)}{listed(options)}"
        self.problems.append(Problem("defaults", message, place))

    def _ordered(self, file: Path) -> list[Part]:
        """Hydra's order of the documents that `_visit` has read."""
        choices = []
        for group, option in self.overrides.groups.items():
            if option is not None:
                choices.append(f"{'' if group in self._groups else '+'}{group}={option}")
            elif group in self._groups:
                choices.append(f"~{group}")
        try:
            ordered = self._order(file, tuple(choices))
        except (HydraException, ValueError, RecursionError) as error:
            message = (
                "files name each other in a circle"
                if isinstance(error, RecursionError)
                else first_line(error)
            )
            document = self._documents[file]
            assert document is not None
            self.problems.append(Problem("defaults", message, document.place("defaults")))
            return []
        parts = []
        for name, package in ordered:
            path = self.search.find(name)
            if path is None or name.startswith("hydra/"):
                continue
            # An option that is an interpolation is known only now.
            document = self._documents.get(path) or read(path, self.problems)
            if document is None:
                continue
            group = name.rpartition("/")[0]
            chosen = [name for name in self.overrides.groups if group == name or group.startswith(f"{name}/")]
            parts.append(Part(document, package, chosen[0] if chosen else None))
        return parts

    def _order(self, file: Path, choices: tuple[str, ...]) -> Order:
        texts = {name: self._text(path) for name, path in {**self._named, file.stem: file}.items()}
        question = (file.stem, choices, frozenset(texts.items()))
        if question in _orders:
            return _orders[question]
        order = _hydra_order(file, choices, self.search.folders)
        # A document that an interpolation names is in the order and not among the texts.
        if all(name in texts or name.startswith("hydra/") for name, _ in order):
            _orders[question] = order
        return order

    def _text(self, path: Path) -> str:
        document = self._documents[path]
        assert document is not None
        return document.text


def _hydra_order(file: Path, choices: Sequence[str], folders: Sequence[Path]) -> Order:
    places = json.dumps([f"file://{folder}" for folder in folders], ensure_ascii=False)
    with (
        initialize_config_dir(str(file.resolve().parent), version_base="1.3"),
        warnings.catch_warnings(action="ignore"),
    ):
        loader = GlobalHydra.instance().config_loader()
        words = [*choices, f"hydra.searchpath={places}"]
        ordered = loader.compute_defaults_list(file.stem, words, RunMode.RUN).defaults
    return tuple((result.config_path or "", result.package or "") for result in ordered)
