"""Errors that a user can cause, and the exit code each ends the process with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USER = 2
EXIT_REQUEUE = 75
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something outside the program is wrong; the message says what, where and what to do."""

    exit_code = EXIT_USER
    #: whether another process tells it for this one too
    shared = False
    #: whether the processes have settled who tells it
    settled = False


@dataclass(frozen=True)
class Problem:
    """One fault of a configuration.

    Attributes:
        path: dotted key path, e.g. ``policy.clip``; empty when the whole file is meant.
        message: what was expected, with the nearest valid name where there is one.
        where: ``conf/policy/rgd.yaml:3``, ``command line``, or empty when unknown.
    """

    path: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        place = f"  ({self.where})" if self.where else ""
        return f"{self.path}: {self.message}{place}" if self.path else f"{self.message}{place}"


class ConfigError(UserError):
    """Every fault that was found in a configuration, reported together.

    Attributes:
        problems: the faults.
        source: the file the configuration came from, as the user would write it; empty when unknown.
    """

    def __init__(self, problems: Sequence[Problem] | str, source: str = "") -> None:
        self.problems = [Problem("", problems)] if isinstance(problems, str) else list(problems)
        self.source = source
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(UserError):
    """A data file is missing, broken, or does not hold what the configuration says."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, is damaged, or belongs to another run."""


class PluginError(UserError):
    """A plugin cannot be found or imported, or registers or gives something impossible."""


class TrainingError(UserError):
    """Training cannot go on, e.g. too many steps in a row gave non-finite numbers."""
