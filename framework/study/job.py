"""What a process of its own does, how it ends, and who is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

State = Literal["finished", "failed", "interrupted", "pruned", "waiting"]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `waiting` was never started, `pruned` was not worth going on.

    Attributes:
        reason: for a reader.
        killed: whether it failed by a signal from outside.
    """

    state: State
    reason: str = ""
    killed: bool = False


class Job(Protocol):
    """Something that a process of its own does, such as a run."""

    @property
    def name(self) -> str:
        """For a reader."""

    @property
    def folder(self) -> Path:
        """The run folder that it is about."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command line after `python -m framework`."""

    @property
    def log(self) -> Path:
        """What it prints."""

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to do."""


AnyJob = TypeVar("AnyJob", bound=Job)
Told = TypeVar("Told", bound=Job, contravariant=True)


class Watcher(Protocol, Generic[Told]):
    """Who is told how the runs go on."""

    def started(self, job: Told) -> None:
        """A process begins the run or goes on with it."""

    def ended(self, job: Told, outcome: Outcome) -> None:
        """It is over; also for one that was complete before."""

    def tick(self, running: Iterable[Told]) -> None:
        """Some time has passed."""
