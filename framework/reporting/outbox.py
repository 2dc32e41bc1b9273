"""Messages on their way to a server that may be slow, down, or back later."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger("framework.reporting")

#: messages handed over in one call
BATCH = 200
#: seconds between two attempts while the other side does not answer: doubled up to the last
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 60.0


class Outbox:
    """Delivers messages in order from a thread of its own; training never waits for the other side.

    What cannot be delivered is kept and tried again. Messages may be delivered twice, when a call failed
    after the other side had taken them.

    Args:
        name: what messages call the other side.
        deliver: sends some messages; whatever it raises counts as "not now".
        capacity: messages kept at most; of more, the oldest are given up and counted.
    """

    def __init__(
        self, name: str, deliver: Callable[[Sequence[Mapping[str, Any]]], None], capacity: int = 100_000
    ) -> None:
        self.name = name
        self.deliver = deliver
        self.capacity = capacity
        self.num_dropped = 0
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._failed_before = False
        self._thread = threading.Thread(target=self._run, name=f"outbox-{name}", daemon=True)
        self._thread.start()

    def put(self, message: Mapping[str, Any]) -> None:
        """Take one message; returns at once."""
        with self._news:
            self._waiting.append(message)
            if len(self._waiting) > self.capacity:
                self._waiting.popleft()
                self.num_dropped += 1
            self._news.notify_all()

    def close(self, timeout: float) -> int:
        """Give delivery `timeout` more seconds; returns how many messages never arrived."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._thread.join(timeout)
        return len(self._waiting) + self.num_dropped

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
                dropped_before, last_try = self.num_dropped, self._closing
            try:
                self.deliver(batch)
            except Exception as error:
                self._complain(error)
                if last_try:
                    return
                with self._news:
                    self._news.wait_for(lambda: self._closing, timeout=pause)
                pause = min(2 * pause, _LAST_PAUSE)
                continue
            if self._failed_before:
                logger.info("%s answers again", self.name)
                self._failed_before = False
            pause = _FIRST_PAUSE
            with self._news:
                # What was given up meanwhile, from the same end, may have been in this batch: it arrived.
                overlap = min(self.num_dropped - dropped_before, len(batch))
                self.num_dropped -= overlap
                for _ in range(len(batch) - overlap):
                    self._waiting.popleft()

    def _complain(self, error: Exception) -> None:
        if self._failed_before:
            return
        self._failed_before = True
        logger.warning(
            "%s cannot be reached; training goes on, records wait until it answers (%s: %s)",
            self.name,
            type(error).__name__,
            " ".join(str(error).split())[:300],
        )
