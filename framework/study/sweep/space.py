"""What a sweep searches: ranges and choices, as the command line or a file writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.config.document import read as read_document
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import SearchPath, locate
from framework.errors import Problem
from framework.naming import listed, nearest
from framework.study import grid

#: what a value can be searched in
FUNCTIONS = ("uniform", "log", "int", "log_int", "choice")
#: the folder of the configuration that holds spaces
FOLDER = "sweep"
_CALL = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*\((?P<inside>.*)\)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")

Value = float | int | str


@dataclass(frozen=True)
class Range:
    """Every number between two ends, both included.

    Attributes:
        key: of the configuration.
        integer: whole numbers only.
        log: as likely between 1 and 10 as between 10 and 100.
    """

    key: str
    low: float
    high: float
    integer: bool
    log: bool

    @property
    def ends(self) -> tuple[Value, ...]:
        """What must be valid if all in between is."""
        return self.low, self.high

    @property
    def size(self) -> int | None:
        """How many values there are; None for real numbers."""
        return int(self.high - self.low) + 1 if self.integer else None

    def place(self, value: float) -> float:
        """Where `value` is, from 0 at the lower end to 1."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)

    def __str__(self) -> str:
        name = {
            (False, False): "uniform",
            (False, True): "log",
            (True, False): "int",
            (True, True): "log_int",
        }
        return f"{name[self.integer, self.log]}({self.low!r},{self.high!r})"


@dataclass(frozen=True)
class Choices:
    """One of several values.

    Attributes:
        key: of the configuration.
        values: as an override writes each.
    """

    key: str
    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values

    @property
    def size(self) -> int | None:
        """How many there are."""
        return len(self.values)

    def __str__(self) -> str:
        return f"choice({','.join(self.values)})"


Parameter = Range | Choices


def is_space(word: str) -> bool:
    """Whether `key=value` is meant to be searched rather than set."""
    return _CALL.fullmatch(word.partition("=")[2]) is not None


def override(key: str, value: Value) -> str:
    """The word that sets a parameter."""
    return f"{key}={value if isinstance(value, str) else repr(value)}"


def parse(word: str, problems: list[Problem], where: str = COMMAND_LINE) -> Parameter | None:
    """Read `key=log(a,b)` and its kin; None, and a problem, where it cannot be read."""
    key, _, text = word.partition("=")
    call = _CALL.fullmatch(text)
    fault = ""
    if call is None:
        fault = f"'{text}' is nothing to search{listed(f'{name}(…)' for name in FUNCTIONS)}"
    elif call["name"] not in FUNCTIONS:
        fault = f"there is no {call['name']}(…){nearest(call['name'], FUNCTIONS)}{listed(FUNCTIONS)}"
    elif call["name"] == "choice":
        return _choices(key, word, problems, where)
    else:
        parameter = _range(key, call["name"], call["inside"])
        if isinstance(parameter, Range):
            return parameter
        fault = f"{parameter}; got {text}"
    problems.append(Problem(key, fault, where))
    return None


def _range(key: str, name: str, inside: str) -> Range | str:
    """The range, or what is wrong with it."""
    integer, log = name in ("int", "log_int"), name.startswith("log")
    ends = [part.strip() for part in inside.split(",")]
    if len(ends) != 2 or not all((_WHOLE if integer else _NUMBER).fullmatch(end) for end in ends):
        return f"must be {name}(low,high) with two {'whole numbers' if integer else 'numbers'}"
    low, high = (int(end) if integer else float(end) for end in ends)
    if not low < high:
        return "the lower end must be less than the upper one"
    if log and low <= 0:
        return "a logarithmic range must begin above 0"
    return Range(key, low, high, integer, log)


def _choices(key: str, word: str, problems: list[Problem], where: str) -> Choices | None:
    faults: list[Problem] = []
    read = grid.read(word, faults)
    if read is None or not read.is_discrete_sweep():
        problems.append(Problem(key, f"must be choice(a,b,…); got {word.partition('=')[2]}", where))
        return None
    values = tuple(read.sweep_string_iterator())
    if len(values) < 2:
        problems.append(Problem(key, "needs two values or more", where))
    elif len(set(values)) < len(values):
        problems.append(Problem(key, "the same value is given twice", where))
    else:
        return Choices(key, values)
    return None


def read_space(name: str, conf: str, problems: list[Problem]) -> dict[str, Parameter]:
    """The parameters of a file: a path, or a name in the folder `sweep` of a configuration.

    Args:
        name: what `space=` was given.
        conf: the run file; its folder is searched too.
        problems: every fault is added.

    Raises:
        ConfigError: there is no such run file.
    """
    search = SearchPath.of(locate(conf))
    path: Path | None = Path(name) if name.endswith(".yaml") and Path(name).is_file() else None
    path = path or search.find(f"{FOLDER}/{name}")
    if path is None:
        names = search.options(FOLDER)
        problems.append(
            Problem("space", f"there is no space '{name}'{nearest(name, names)}{listed(names)}", COMMAND_LINE)
        )
        return {}
    document = read_document(path, problems)
    if document is None:
        return {}
    parameters = {}
    for key, value in _flat(document.values):
        parameter = parse(f"{key}={value}", problems, document.place(key))
        if parameter is not None:
            parameters[key] = parameter
    return parameters


def _flat(values: Mapping[str, object], prefix: str = "") -> Sequence[tuple[str, object]]:
    """Dotted keys and sections may be mixed, as is convenient."""
    pairs: list[tuple[str, object]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return pairs
