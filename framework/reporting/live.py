"""The bar at the bottom of a terminal while a run goes on."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from framework.reporting.lines import train_segments, worst_group_segment
from framework.reporting.text import Segment, duration, fit, rate
from framework.training.hooks import Record

_SECONDS_BETWEEN_DRAWS = 0.2
_SHORTEST_BAR = 8


class LiveProgress:
    """Two lines that are redrawn in place: how far, how fast and until when; then loss and worst group.

    It draws from `progress` and has no thread of its own: a thread that holds the terminal's lock while
    the loader forks its workers would leave them waiting for ever.
    """

    def __init__(self, console: Console, num_steps: int, steps_per_epoch: int, resumed_at: int) -> None:
        self._console = console
        self._num_steps = num_steps
        self._steps_per_epoch = max(1, steps_per_epoch)
        self._first = self._step = resumed_at
        self._started = time.monotonic()
        self._drawn = 0.0
        self._train: Record = {}
        self._samples_per_second: float | None = None
        self._evaluation: Record = {}
        self._paced_step, self._paced_at, self._evaluating = resumed_at, self._started, 0.0
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            get_renderable=self._draw,
            redirect_stderr=sys.stderr.isatty(),  # what goes to a file must get there
        )

    def start(self) -> None:
        """Show the bar."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._live.stop()

    def progress(self, step: int, *, draw: bool) -> None:
        """A step was taken; redraws a few times a second."""
        self._step = step
        if not draw:
            return
        now = time.monotonic()
        if now - self._drawn >= _SECONDS_BETWEEN_DRAWS:
            self._drawn = now
            self._live.refresh()

    def record(self, record: Record) -> None:
        """Remember the numbers of a `train` or `evaluation` record."""
        if record.get("event") == "train":
            self._train = record
            self._samples_per_second = self._pace(record)
        elif record.get("event") == "evaluation":
            self._evaluation = record
            self._evaluating += record.get("seconds", 0.0)

    def eta(self) -> str:
        """Time left at the pace of this process so far, evaluations and checkpoints included."""
        taken = self._step - self._first
        if taken <= 0:
            return "-:--"
        return duration((time.monotonic() - self._started) / taken * (self._num_steps - self._step))

    def train_line(self) -> list[Segment]:
        """Loss, objective and speed."""
        if not self._train:
            return []
        segments = train_segments(self._train)
        if self._samples_per_second is not None:
            segments.append((3, rate(self._samples_per_second)))
        return segments

    def position(self) -> str:
        """`step 120/4000`."""
        return f"step {self._step}/{self._num_steps}"

    def epoch(self) -> str:
        """`epoch 3/40`, counted from one."""
        epochs = -(-self._num_steps // self._steps_per_epoch)
        return f"epoch {max(1, -(-self._step // self._steps_per_epoch))}/{epochs}"

    def _pace(self, record: Record) -> float | None:
        """Samples per second since the last `train` record, the time spent on evaluation left out."""
        now, step = time.monotonic(), record["step"]
        seconds = now - self._paced_at - self._evaluating
        steps = step - self._paced_step
        self._paced_step, self._paced_at, self._evaluating = step, now, 0.0
        if seconds <= 0 or steps <= 0 or not record.get("samples"):
            return None
        return float(record["samples"] / step * steps / seconds)

    def _draw(self) -> Group:
        width = self._console.width - 1
        share = f"{self._step / max(1, self._num_steps):.0%}"
        after = fit(
            [(0, share), (2, self.epoch()), (1, f"ETA {self.eta()}")],
            width - len(self.position()) - _SHORTEST_BAR - 4,
        )
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(
            Text(self.position(), style="bold"),
            ProgressBar(
                total=max(1, self._num_steps),
                completed=self._step,
                complete_style="cyan",
                finished_style="cyan",
            ),
            Text(after),
        )
        segments = self.train_line()
        worst = worst_group_segment(self._evaluation, width)
        if worst:
            segments.append((1, worst))
        return Group(bar, Text(fit(segments, width), style="dim", no_wrap=True))
