"""Never a silent hang: when nothing moves for too long, every thread says where it is."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from framework.errors import EXIT_REQUEUE
from framework.options import Positive
from framework.registry import register
from framework.training.hooks import Callback, Record

if TYPE_CHECKING:
    from framework.training.assemble import Run

logger = logging.getLogger("framework.callbacks")


@register.callback("watchdog")
class Watchdog(Callback):
    """Writes the stacks of all threads to log.txt and standard error when no step ends for too long.

    Evaluations and checkpoints count as signs of life when they end, so `seconds` must be longer than the
    longest of them, and than the first step with its compilation.

    Args:
        seconds: time without a sign of life after which the stacks are written, once per standstill.
        exit: end the process then, with the exit code that asks a scheduler to start it again.
    """

    def __init__(self, *, seconds: Positive = 600.0, exit: bool = False) -> None:
        self._seconds = seconds
        self._exit = exit
        self._alive_at = time.monotonic()
        self._step = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def on_start(self, run: Run) -> None:
        """Begin to watch."""
        self._sign_of_life(run)
        self._over.clear()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def on_epoch_start(self, run: Run) -> None:
        """A sign of life."""
        self._sign_of_life(run)

    def on_step(self, run: Run) -> None:
        """A sign of life."""
        self._sign_of_life(run)

    def on_evaluation(self, run: Run, record: Record) -> None:
        """A sign of life."""
        self._sign_of_life(run)

    def on_checkpoint(self, run: Run, path: Path) -> None:
        """A sign of life."""
        self._sign_of_life(run)

    def on_end(self, run: Run) -> None:
        """Stop watching."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _sign_of_life(self, run: Run) -> None:
        self._alive_at = time.monotonic()
        self._step = run.progress.step

    def _watch(self) -> None:
        """The thread: looks ten times per allowed span, so it is at most a tenth of it late."""
        told_of: float | None = None
        while not self._over.wait(self._seconds / 10):
            if sys.__stderr__ is not None:
                # Native code that keeps the interpreter's lock stops this thread too; then nobody puts off
                # this timer, which needs no lock.
                faulthandler.dump_traceback_later(2 * self._seconds, file=sys.__stderr__, exit=self._exit)
            since = self._alive_at
            if told_of is not None and since != told_of:
                logger.warning("watchdog: the run moves again after %.0f s", since - told_of)
                told_of = None
            if told_of is None and time.monotonic() - since >= self._seconds:
                told_of = since
                self._tell()
        faulthandler.cancel_dump_traceback_later()

    def _tell(self) -> None:
        message = (
            f"watchdog: nothing has moved for {time.monotonic() - self._alive_at:.0f} s after step"
            f" {self._step}; the stacks of all threads follow"
            + (f", then this process ends with exit code {EXIT_REQUEUE}" if self._exit else "")
        )
        # Straight to the file descriptor first: whatever hangs may hold the lock of logging or of the bar.
        if sys.__stderr__ is not None:
            print(message, file=sys.__stderr__, flush=True)
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            logger.error("%s\n%s", message, file.read(), extra={"on_console": False})
        if self._exit:
            # Not sys.exit: the main thread may never run again.
            os._exit(EXIT_REQUEUE)
