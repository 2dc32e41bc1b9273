"""A run as a person follows it: header, progress, evaluations, final tables."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from framework.options import Count, NonNegative
from framework.registry import register
from framework.reporting.lines import evaluation_segments
from framework.reporting.live import LiveProgress
from framework.reporting.report.read import REPORT, read_run
from framework.reporting.report.verdict import verdict
from framework.reporting.tables import evaluation_table, header_table, other_metrics, policy_table
from framework.reporting.text import duration, fit
from framework.training.hooks import Record, Reporter, RunHeader

#: width of tables where nobody's terminal sets one
_PIPE_WIDTH = 100


@register.reporter("console")
class ConsoleReporter(Reporter):
    """Header, progress bar, one line per evaluation and final tables on standard output.

    Args:
        progress: `bar` redraws in place, `lines` prints plain lines without control characters for
            pipes and logs; `auto` takes the bar on a terminal.
        every_seconds: with `lines`, at least so many seconds between two lines of training progress.
        max_groups: rows of the final tables; the worst groups are shown, the rest counted.
    """

    def __init__(
        self,
        *,
        progress: Literal["auto", "bar", "lines"] = "auto",
        every_seconds: NonNegative = 10.0,
        max_groups: Count = 24,
    ) -> None:
        # Asked of the stream itself: rich also calls a pipe a terminal when FORCE_COLOR is set.
        on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = on_terminal if progress == "auto" else progress == "bar"
        self._console = make_console(self._bar)
        self._every_seconds = every_seconds
        self._max_groups = max_groups
        self._live: LiveProgress | None = None
        self._header: RunHeader | None = None
        self._started = time.monotonic()
        self._last_line = -float("inf")
        self._evaluations: dict[str, Record] = {}
        self._policy: Record = {}

    def start(self, header: RunHeader) -> None:
        """Print what is about to run."""
        self._header = header
        self._started = time.monotonic()
        self._console.print(Text(header.name, style="bold"))
        self._print(Padding(header_table(header.summary), (0, 0, 0, 2)))
        self._line("")
        if header.resumed_at is not None:
            self._line(f"going on from step {header.resumed_at} of {header.num_steps}")
        self._live = LiveProgress(
            self._console, header.num_steps, header.steps_per_epoch, header.resumed_at or 0
        )
        if self._bar:
            self._live.start()

    def record(self, record: Record) -> None:
        """Show training numbers on the bar or as a line now and then; every evaluation as a line."""
        if self._live is not None:
            self._live.record(record)
        event = record.get("event")
        if event == "evaluation":
            self._evaluations[record["split"]] = record
            self._line(fit(evaluation_segments(record, self._line_width), self._line_width))
        elif event == "policy":
            self._policy = record
        elif event == "train" and not self._bar:
            self._train_line(record)

    def progress(self, step: int, epoch: int) -> None:
        """Move the bar."""
        if self._live is not None:
            self._live.progress(step, draw=self._bar)

    def close(self, outcome: str) -> None:
        """Print the final tables of a run that came to its end, and where everything is."""
        if self._bar and self._live is not None:
            self._live.stop()
        if self._header is None:
            return
        if outcome in ("finished", "stopped"):
            self._final_tables()
            self._verdict(self._header.dir)
        self._line("")
        self._line(f"{outcome} after {duration(time.monotonic() - self._started)}")
        self._line(f"run folder: {self._header.dir}")
        if (self._header.dir / REPORT).is_file():
            self._line(f"report: {self._header.dir / REPORT}")

    @property
    def _line_width(self) -> int | None:
        """Where a line must end; a pipe has no end, so nothing is left out there."""
        return self._console.width - 1 if self._bar else None

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _print(self, renderable: RenderableType) -> None:
        """Print a table; rich fills its lines with spaces, which a file does not need."""
        if self._bar:
            self._console.print(renderable)
            return
        with self._console.capture() as capture:
            self._console.print(renderable)
        for line in capture.get().splitlines():
            self._line(line.rstrip())

    def _train_line(self, record: Record) -> None:
        now = time.monotonic()
        if self._live is None or now - self._last_line < self._every_seconds:
            return
        self._last_line = now
        self._live.progress(record["step"], draw=False)
        position = [(0, self._live.position()), (0, self._live.epoch())]
        self._line(fit([*position, *self._live.train_line(), (0, f"ETA {self._live.eta()}")], None))

    def _final_tables(self) -> None:
        width = self._console.width
        for record in self._evaluations.values():
            self._line("")
            self._print(evaluation_table(record, width=width, max_groups=self._max_groups))
            others = other_metrics(record)
            if others:
                self._line("")
                self._print(header_table(others))
        table = policy_table(self._policy, width=width)
        if table is not None:
            self._line("")
            self._print(table)

    def _verdict(self, run_dir: Path) -> None:
        """What the report says first, of the whole run: the folder also knows what came before a resume."""
        run = read_run(run_dir)
        if not run.finals:
            return
        said = verdict(run)
        self._line("")
        for text in (said.answer, *(f"- {remark}" for remark in said.remarks)):
            self._print(Padding(Text(text), (0, 0, 0, 2) if text.startswith("- ") else 0))


def make_console(on_terminal: bool) -> Console:
    """Rich for a terminal; for anything else without colours, control characters or a guessed width."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A group may be called something that this locale cannot write: a question mark, not the end.
        sys.stdout.reconfigure(errors="replace")
    if on_terminal:
        return Console(highlight=False)
    width = shutil.get_terminal_size((_PIPE_WIDTH, 40)).columns
    return Console(force_terminal=False, no_color=True, color_system=None, width=width, highlight=False)
