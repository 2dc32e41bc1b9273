"""What the loop tells others: callbacks observe the run, reporters receive its numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from framework.training.assemble import Run

#: one line of metrics.jsonl: {"event": ..., "step": ..., "epoch": ..., ...}; plain JSON values only
Record = dict[str, Any]


class Callback:
    """Observes a run at eight points; every method may be left out. Callbacks run in the order written.

    One with state that must survive a restart also gives `state_dict` and `load_state_dict`.
    """

    def on_start(self, run: Run) -> None:
        """Everything is built and, if resumed, loaded; no step was taken yet in this process."""

    def on_epoch_start(self, run: Run) -> None:
        """A pass over the data begins (or goes on, after a resume)."""

    def on_step(self, run: Run) -> None:
        """An optimizer step was taken; `run.progress` counts it."""

    def on_evaluation(self, run: Run, record: Record) -> None:
        """A split was evaluated; `record` is what the reporters got."""

    def on_checkpoint(self, run: Run, path: Path) -> None:
        """A checkpoint was published at `path`; with `checkpoint.asynchronous` some steps after it was taken.

        State that counts on when this comes is not the same in every run.
        """

    def on_epoch_end(self, run: Run) -> None:
        """A pass over the data is complete."""

    def on_stop(self, run: Run, reason: str) -> None:
        """The run ends before its last step: a signal, early stopping, or a guard."""

    def on_end(self, run: Run) -> None:
        """Nothing follows; called whatever the reason."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing, unless a callback keeps state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over `state`."""


@dataclass(frozen=True)
class RunHeader:
    """What a reporter may show before the first number.

    Attributes:
        name: name of the run.
        dir: the run folder.
        num_steps: optimizer steps in the whole run.
        steps_per_epoch: optimizer steps in one pass over the data.
        resumed_at: step of the checkpoint that is continued, None for a new run. Records a reporter
            holds of later steps were lost with the process that wrote them and must be dropped.
        summary: lines that describe the run: data, model, policy, batch arithmetic, callbacks.
    """

    name: str
    dir: Path
    num_steps: int
    steps_per_epoch: int
    resumed_at: int | None
    summary: tuple[tuple[str, str], ...]


class Reporter(ABC):
    """Receives every record of the run, in order."""

    @abstractmethod
    def start(self, header: RunHeader) -> None:
        """The run begins or goes on."""

    @abstractmethod
    def record(self, record: Record) -> None:
        """One record; it must be durable enough that a killed process loses no earlier checkpointed one."""

    def progress(self, step: int, epoch: int) -> None:
        """Called after every step; cheap, no numbers that would need the device."""

    def sync(self) -> None:
        """Make all records durable; called before a checkpoint is published."""

    @abstractmethod
    def close(self, outcome: str) -> None:
        """The run ended: `finished`, `stopped`, `interrupted` or `failed`."""


class Reporting(Protocol):
    """What the loop needs of all reporters together."""

    def record(self, record: Record) -> None:
        """Take one record."""

    def progress(self, step: int, epoch: int) -> None:
        """A step was taken."""

    def sync(self) -> None:
        """Make all records durable."""


class Silent(Reporter):
    """Reports to nobody: for a rehearsal."""

    def start(self, header: RunHeader) -> None:
        """Nothing."""

    def record(self, record: Record) -> None:
        """Nothing."""

    def close(self, outcome: str) -> None:
        """Nothing."""
