"""The runs of a study as a person follows them: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from framework.reporting.tail import Tail
from framework.reporting.text import duration, number, shorten
from framework.study.job import Job, Outcome
from framework.study.output import print_line

_SECONDS_BETWEEN_DRAWS = 0.5


@dataclass
class _Position:
    """What is known of a run that goes on."""

    tail: Tail
    started: float
    step: int = 0
    num_steps: int = 0
    value: float | None = None


class Board:
    """Follows the runs through their records.

    Args:
        console: where to draw.
        total: how many runs there are.
        metric: the one to show, of the selection split.
        split: the selection split.
        live: draw a table in place; otherwise print a line for each event.
    """

    def __init__(self, console: Console, *, total: int, metric: str, split: str, live: bool) -> None:
        self._console = console
        self._total = total
        self._metric, self._split = metric, split
        self._running: dict[Job, _Position] = {}
        self._outcomes: dict[Job, Outcome] = {}
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def expect(self, more: int) -> None:
        """There are `more` runs than was known at first."""
        self._total += more

    def tell(self, text: str) -> None:
        """Say something between the events."""
        print_line(self._console, text)

    def started(self, job: Job) -> None:
        """A run begins or goes on."""
        self._running[job] = _Position(Tail(job.folder), time.monotonic())
        if self._live is None:
            self.tell(f"{job.name}: started")

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A run is over."""
        position = self._running.pop(job, None)
        known = job in self._outcomes
        self._outcomes[job] = outcome
        self._drawn = 0.0  # the next tick draws at once
        if known:
            return
        if position is None:
            self.tell(f"{self._count()} {job.name}: finished before")
            return
        self._read(position)
        took = duration(time.monotonic() - position.started)
        value = f", {self._metric} {number(position.value)}" if position.value is not None else ""
        text = f"{self._count()} {job.name}: {outcome.state} after {took}{value}"
        if outcome.state == "failed":
            text = f"{text}: {outcome.reason} (see {job.log})"
        self.tell(text)

    def tick(self, running: Iterable[Job]) -> None:
        """Redraw now and then."""
        if self._live is None or time.monotonic() - self._drawn < _SECONDS_BETWEEN_DRAWS:
            return
        for position in self._running.values():
            self._read(position)
        self._live.update(self._draw(), refresh=True)
        self._drawn = time.monotonic()

    def _count(self) -> str:
        return f"[{len(self._outcomes)}/{self._total}]"

    def _read(self, position: _Position) -> None:
        for record in position.tail.read():
            position.step = max(record.get("step", 0), position.step)
            position.num_steps = record.get("num_steps", position.num_steps)
            if record["event"] == "evaluation" and record["split"] == self._split and record.get("best"):
                position.value = record.get(self._metric)

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(width=20)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True)
        room = max(3, self._console.height - 4)
        for job, position in list(self._running.items())[:room]:
            share = f"{position.step / position.num_steps:.0%}" if position.num_steps else "starting"
            value = f"{self._metric} {number(position.value)}" if position.value is not None else ""
            table.add_row(
                Text(shorten(job.name, max(16, self._console.width - 60))),
                ProgressBar(total=max(1, position.num_steps), completed=position.step, width=20),
                Text(share),
                Text(value, style="dim"),
            )
        states = [outcome.state for outcome in self._outcomes.values()]
        others = "".join(f", {states.count(s)} {s}" for s in ("pruned", "failed") if s in states)
        waiting = self._total - len(self._outcomes) - len(self._running)
        summary = f"{states.count('finished')} of {self._total} runs finished{others}, {waiting} waiting"
        return Group(table, Text(summary, style="bold"))
