"""A signal to any process ends the run on all of them, between the same two batches."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

from framework.parallel.collectives import any_rank
from framework.parallel.world import World


class StopRequested(Exception):  # noqa: N818 - it is a request, not an error
    """A signal asked the run to save and end."""


class StopSignal:
    """Turns SIGTERM, SIGINT and SIGUSR1 into a flag that the loop reads between batches.

    Within the context a second SIGINT interrupts at once, for a person who does not want to wait.
    """

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.received: str | None = None
        #: what the exchange of a step's samples said for all ranks, until it is read; None if there was none
        self.carried: bool | None = None
        #: called whenever the flag is read, which is between any two batches
        self.sign_of_life: Callable[[], None] = _nothing
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        for number in self.signals:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise StopRequested on every rank if a signal came to any of them; all ranks call it together.

        They ask each other only where the samples of the step before did not carry the answer.
        """
        self.sign_of_life()
        carried, self.carried = self.carried, None
        if any_rank(self.received is not None, self.world) if carried is None else carried:
            self.received = self.received or "a signal to another process"
            raise StopRequested(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name


def _nothing() -> None:
    pass
