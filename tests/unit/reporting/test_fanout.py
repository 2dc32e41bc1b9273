from __future__ import annotations

import logging
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.reporting.fanout import Reporters
from framework.training.hooks import Reporter, RunHeader

HEADER = RunHeader("r", Path(), 10, 5, None, ())
CALLS = {
    "start": lambda reporter: reporter.start(HEADER),
    "record": lambda reporter: reporter.record({}),
    "progress": lambda reporter: reporter.progress(1, 0),
    "sync": lambda reporter: reporter.sync(),
    "close": lambda reporter: reporter.close("finished"),
}


class Spy(Reporter):
    def __init__(self, fails_at: str | None = None, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.fails_at, self.error = fails_at, error

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_at:
            raise self.error or ConnectionError("server gone")

    def start(self, header):
        self._call("start")

    def record(self, record):
        self._call("record")

    def progress(self, step, epoch):
        self._call("progress")

    def sync(self):
        self._call("sync")

    def close(self, outcome):
        self._call("close")


class Essential(Spy):
    essential = True


def call_all(reporters: Reporters) -> None:
    for call in CALLS.values():
        call(reporters)


@pytest.mark.parametrize("where", CALLS)
def test_a_failing_reporter_is_dropped_with_one_warning_and_the_others_go_on(where, caplog):
    first, bad, last = Spy(), Spy(where), Spy()
    reporters = Reporters([first, bad, last])
    with caplog.at_level(logging.WARNING, "framework"):
        call_all(reporters)
        CALLS["record"](reporters)
    assert first.calls == last.calls == [*CALLS, "record"]
    assert bad.calls == list(CALLS)[: list(CALLS).index(where) + 1]
    assert [record.getMessage() for record in caplog.records] == [
        "Spy failed and is switched off for the rest of the run: ConnectionError: server gone"
    ]


@pytest.mark.parametrize("where", CALLS)
def test_the_failure_of_an_essential_reporter_goes_on(where):
    reporters = Reporters([Essential(where, UserError("disk full"))])
    with pytest.raises(UserError, match="disk full"):
        call_all(reporters)
    assert len(reporters) == 1


def test_all_are_closed_even_if_an_essential_one_fails():
    bar = Spy()
    with pytest.raises(UserError, match="disk full"):
        Reporters([Essential("close", UserError("disk full")), bar]).close("failed")
    assert bar.calls == ["close"]


def test_a_user_error_at_the_start_goes_on_but_later_it_does_not():
    with pytest.raises(UserError, match="not logged in"):
        call_all(Reporters([Spy("start", UserError("not logged in"))]))
    call_all(Reporters([Spy("record", UserError("quota"))]))


def test_an_interrupt_is_no_failure_of_a_reporter():
    class Interrupted(Spy):
        def record(self, record):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reporters([Interrupted()]).record({})
