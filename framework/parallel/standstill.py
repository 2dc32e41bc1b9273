"""A process that does not move says where each of its threads stands, in its own log."""

from __future__ import annotations

import faulthandler
import threading
import time
from pathlib import Path
from types import TracebackType

from framework.parallel.world import World

#: share of the time that the other processes wait; the stacks must be written before those end the run
_SHARE = 0.7


class Standstill:
    """Within the context a thread watches the signs of life; a single process is not watched.

    Args:
        log: the file to which the stacks are appended, once per standstill.
        timeout_seconds: how long the other processes wait for this one.
        exchanges: where the flight recorder will write the exchanges of this process, if there is one.
    """

    def __init__(
        self, log: Path, world: World, timeout_seconds: float, exchanges: Path | None = None
    ) -> None:
        self.log = log
        self.world = world
        self.exchanges = exchanges
        self.seconds = timeout_seconds * _SHARE
        self._alive_at = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def sign_of_life(self) -> None:
        """Called between batches."""
        self._alive_at = time.monotonic()

    def __enter__(self) -> Standstill:
        if self.world.size > 1:
            self._thread = threading.Thread(target=self._watch, name="standstill", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _message(self) -> str:
        recorded = (
            f" if it waits for another process, its last exchanges will be in {self.exchanges};"
            if self.exchanges is not None
            else ""
        )
        return f"rank {self.world.rank}: nothing has moved for {self.seconds:g} s;{recorded} all threads:\n"

    def _watch(self) -> None:
        told_of: float | None = None
        while not self._over.wait(self.seconds / 10):
            since = self._alive_at
            if since != told_of and time.monotonic() - since >= self.seconds:
                told_of = since
                # Straight to the file: whatever hangs may hold the lock of logging.
                with self.log.open("a") as file:
                    file.write(self._message())
                    file.flush()
                    faulthandler.dump_traceback(file, all_threads=True)
