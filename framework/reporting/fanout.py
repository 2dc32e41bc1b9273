"""All reporters of a run as one."""

from __future__ import annotations

import logging
from collections.abc import Callable

from framework.errors import UserError
from framework.training.hooks import Record, Reporter, RunHeader

logger = logging.getLogger("framework.reporting")


class Reporters(list[Reporter]):
    """Hands every call to each reporter in turn.

    A dashboard that fails must not end hours of training: a reporter that raises is dropped with one
    warning, unless it is `essential` (metrics.jsonl), whose error goes on to the caller. What a
    reporter reports about its set-up as UserError, in `start`, goes on as well: it is the user's to mend,
    and nothing is lost yet.
    """

    def start(self, header: RunHeader) -> None:
        """Start every reporter.

        Raises:
            UserError: one of them cannot work as it is set up.
        """
        self._each(lambda reporter: reporter.start(header), passed_on=(UserError,))

    def record(self, record: Record) -> None:
        """Give the record to every reporter."""
        self._each(lambda reporter: reporter.record(record))

    def progress(self, step: int, epoch: int) -> None:
        """Tell every reporter that a step was taken."""
        self._each(lambda reporter: reporter.progress(step, epoch))

    def sync(self) -> None:
        """Make every reporter's records durable."""
        self._each(lambda reporter: reporter.sync())

    def close(self, outcome: str) -> None:
        """Close every reporter."""
        self._each(lambda reporter: reporter.close(outcome))

    def _each(self, call: Callable[[Reporter], None], passed_on: tuple[type[Exception], ...] = ()) -> None:
        failures: list[Exception] = []
        for reporter in list(self):
            try:
                call(reporter)
            except Exception as error:
                if getattr(reporter, "essential", False) or isinstance(error, passed_on):
                    # Raised when the others have had the call: a bar that is never closed hides the cursor.
                    failures.append(error)
                    continue
                self.remove(reporter)
                logger.warning(
                    "%s failed and is switched off for the rest of the run: %s: %s",
                    type(reporter).__name__,
                    type(error).__name__,
                    error,
                    exc_info=logger.isEnabledFor(logging.DEBUG),
                )
        if failures:
            raise failures[0]
