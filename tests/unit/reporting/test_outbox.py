from __future__ import annotations

import logging
import threading

from framework.reporting import outbox as module
from framework.reporting.outbox import Outbox


class Other:
    """The other side: refuses the first `refusals` calls."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.got: list[int] = []
        self.arrived = threading.Event()

    def __call__(self, messages) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("refused")
        self.got += [message["n"] for message in messages]
        self.arrived.set()


def test_messages_arrive_in_order():
    other = Other()
    box = Outbox("other", other)
    for n in range(500):
        box.put({"n": n})
    assert box.close(10) == 0
    assert other.got == list(range(500))


def test_what_was_refused_is_sent_again_and_told_once(monkeypatch, caplog):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    other = Other(refusals=3)
    box = Outbox("other", other)
    with caplog.at_level(logging.INFO, "framework.reporting"):
        for n in range(5):
            box.put({"n": n})
        assert other.arrived.wait(10)
        assert box.close(10) == 0
    assert other.got == list(range(5))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "other cannot be reached" in caplog.text
    assert "other answers again" in caplog.text


def test_the_end_does_not_wait_for_a_side_that_is_gone():
    box = Outbox("other", Other(refusals=10**9))
    for n in range(3):
        box.put({"n": n})
    assert box.close(10) == 3


def test_the_end_does_not_wait_for_a_side_that_hangs():
    hang = threading.Event()
    box = Outbox("other", lambda messages: hang.wait(60) and None)
    box.put({"n": 0})
    assert box.close(0.05) == 1
    hang.set()


def test_of_too_many_the_oldest_are_given_up():
    other, first = Other(), threading.Event()
    release = threading.Event()

    def deliver(messages) -> None:
        first.set()
        release.wait(10)
        other(messages)

    box = Outbox("other", deliver, capacity=3)
    box.put({"n": 0})
    assert first.wait(10)
    for n in range(1, 6):
        box.put({"n": n})
    release.set()
    # 0 was on its way when it was given up, and arrived all the same
    assert box.close(10) == 2
    assert other.got == [0, 3, 4, 5]
