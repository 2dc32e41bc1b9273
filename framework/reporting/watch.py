"""A run as its folder shows it while it is written: for `watch`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from framework.errors import UserError
from framework.reporting.console import make_console
from framework.reporting.lines import judged_by
from framework.reporting.tables import evaluation_table, policy_table
from framework.reporting.tail import Tail
from framework.reporting.text import duration, number, shorten
from framework.run_folder.lock import is_held
from framework.run_folder.status import read_status
from framework.training.hooks import Record

_SECONDS_BETWEEN_LOOKS = 1.0
_BARS = "▁▂▃▄▅▆▇█"
#: for a terminal that cannot write those
_PLAIN_BARS = "_.-=+*#@"
_LABEL_WIDTH = 22
_NUMBER_WIDTH = 10
#: lines that are not rows of the table of groups
_OTHER_LINES = 29


@dataclass
class RunView:
    """What is known of a run so far.

    Attributes:
        curves: name -> values in the order of steps: training loss, and per split accuracy and worst group.
        evaluations: split -> its newest record.
        began: step at which the newest process began.
        elapsed: seconds that it had trained at its last `train` record.
    """

    name: str
    step: int = 0
    num_steps: int = 0
    began: int = 0
    trained: int = 0
    elapsed: float = 0.0
    checkpoint: int | None = None
    best: int | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)
    evaluations: dict[str, Record] = field(default_factory=dict)
    policy: Record = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in one record."""
        event, step = record["event"], record.get("step", 0)
        self.step = max(self.step, step)
        if event == "run":
            self.began, self.elapsed, self.trained = step, 0.0, step
            self.num_steps = record.get("num_steps", self.num_steps)
        elif event == "train":
            self.trained, self.elapsed = step, record.get("elapsed_seconds", 0.0)
            self._point("train loss", record.get("loss"))
        elif event == "policy":
            self.policy = record
        elif event == "checkpoint":
            self.checkpoint = step
        elif event == "evaluation":
            self._evaluation(record)

    @property
    def eta(self) -> str:
        """Time left at the pace of the newest process."""
        taken = self.trained - self.began
        if taken <= 0 or self.elapsed <= 0:
            return "-:--"
        return duration(self.elapsed / taken * max(0, self.num_steps - self.step))

    def _evaluation(self, record: Record) -> None:
        split = str(record["split"])
        self.evaluations[split] = record
        if record.get("best"):
            self.best = record.get("step")
        measure = judged_by(record)
        if measure is None or record.get("final"):
            return
        self._point(f"{split} {measure}", record.get(measure))
        self._point(f"{split} worst group", record.get(f"worst_group_{measure}"))

    def _point(self, curve: str, value: float | None) -> None:
        if value is not None:
            self.curves.setdefault(curve, []).append(value)


class RunReader:
    """Keeps a `RunView` up to date with the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tail = Tail(folder)
        self.view = RunView(folder.name)

    def look(self) -> RunView:
        """The run as it stands.

        Raises:
            UserError: the folder cannot be read.
        """
        try:
            records = self._tail.read()
        except OSError as error:
            raise UserError(f"{self._tail.path} cannot be read: {error.strerror}") from error
        if self._tail.restarted:
            self.view = RunView(self._folder.name)
        for record in records:
            self.view.add(record)
        return self.view


def state_of(folder: Path) -> str:
    """`not begun`, `running`, `killed`, `finished`, `stopped`, `interrupted` or `failed: REASON`."""
    status = read_status(folder)
    if status is None:
        return "starting" if is_held(folder) else "not begun"
    if status.state == "running":
        return "running" if is_held(folder) else "killed"
    held = is_held(folder) and not status.complete  # it goes on and has not said so yet
    reason = f": {status.reason}" if status.reason and status.state == "failed" else ""
    return "starting" if held else f"{status.state}{reason}"


def snapshot(folder: Path) -> None:
    """Print how the run stands."""
    console = make_console(sys.stdout.isatty())
    with console.capture() as capture:
        console.print(render(RunReader(folder).look(), state_of(folder), console, max_groups=24))
    for line in capture.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def follow(folder: Path) -> None:
    """Draw the run until it ends."""
    console = make_console(True)
    reader = RunReader(folder)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            # The state first: what a run writes after it has ended is nothing.
            state = state_of(folder)
            max_groups = max(3, console.height - _OTHER_LINES)
            live.update(render(reader.look(), state, console, max_groups=max_groups), refresh=True)
            if state not in ("running", "starting"):
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def render(view: RunView, state: str, console: Console, *, max_groups: int) -> Group:
    """Everything, for the width of `console`."""
    width = console.width - 1
    bars = _BARS if console.encoding.lower().startswith("utf") else _PLAIN_BARS
    parts: list[RenderableType] = [
        Text.assemble((shorten(view.name, width // 2), "bold"), "  ", (state, _style(state)))
    ]
    if view.num_steps:
        parts.append(_progress(view, state))
    room = max(8, width - _LABEL_WIDTH - _NUMBER_WIDTH - 4)
    for name, values in view.curves.items():
        line = f"{shorten(name, _LABEL_WIDTH):<{_LABEL_WIDTH}}  {number(values[-1]):>{_NUMBER_WIDTH}}  "
        parts.append(Text(line + sparkline(values, room, bars), no_wrap=True))
    if view.checkpoint is not None:
        best = f", best step {view.best}" if view.best is not None else ""
        parts.append(Text(f"last checkpoint: step {view.checkpoint}{best}"))
    for record in list(view.evaluations.values())[:1]:
        parts += [Text(""), evaluation_table(record, width=width, max_groups=max_groups)]
    table = policy_table(view.policy, width=width, max_groups=max(3, max_groups // 2))
    if table is not None:
        parts += [Text(""), table]
    return Group(*parts)


def sparkline(values: Sequence[float], width: int, bars: str = _BARS) -> str:
    """The values as `width` bars at most, each the mean of its share; what is not finite is a space."""
    count = min(width, len(values))
    edges = [place * len(values) // count for place in range(count + 1)] if count else []
    means = []
    for low, high in pairwise(edges):
        finite = [value for value in values[low:high] if math.isfinite(value)]
        means.append(math.fsum(finite) / len(finite) if finite else math.nan)
    known = [mean for mean in means if math.isfinite(mean)]
    if not known:
        return " " * count
    least, span = min(known), max(known) - min(known)

    def bar(mean: float) -> str:
        if math.isnan(mean):
            return " "
        return bars[round((mean - least) / span * (len(bars) - 1))] if span > 0 else bars[0]

    return "".join(bar(mean) for mean in means)


def _progress(view: RunView, state: str) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    after = f"{view.step / view.num_steps:.0%}"
    if state == "running":
        after += f"  ETA {view.eta}"
    bar = ProgressBar(total=view.num_steps, completed=view.step, complete_style="cyan", finished_style="cyan")
    grid.add_row(Text(f"step {view.step}/{view.num_steps}"), bar, Text(after))
    return grid


def _style(state: str) -> str:
    if state in ("finished", "stopped"):
        return "green"
    return "red" if state.startswith(("failed", "killed")) else "cyan"
