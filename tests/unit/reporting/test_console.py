from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from framework.evaluation.averages import averages
from framework.evaluation.sums import Sums
from framework.reporting.console import ConsoleReporter
from framework.reporting.tables import evaluation_table, policy_table
from framework.training.hooks import RunHeader
from tests.forked import START

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Table:
    def __init__(self, num_groups: int, name: str = "label={}, background=land") -> None:
        self.names = [name.format(group) for group in range(num_groups)]
        self.counts = np.arange(num_groups)[::-1] * 1000 + 1


def evaluation(num_groups: int = 4, split: str = "validation", step: int = 20, **more) -> dict:
    groups = torch.arange(num_groups).repeat_interleave(5)
    right = torch.tensor([float(i % 5 <= g % 5) for g in range(num_groups) for i in range(5)])
    sums = Sums.of({"loss": 1 - right / 2, "accuracy": right}, {}, groups, num_groups)
    numbers = averages(sums, Table(num_groups), {"accuracy"})
    return {"event": "evaluation", "split": split, "step": step, "epoch": 1, **numbers, **more}


def drive(reporter: ConsoleReporter, outcome: str = "finished", num_groups: int = 4) -> None:
    summary = (("data", "digits: " + "many words " * 12), ("policy", "rgd [bold]not markup[/bold]"))
    reporter.start(RunHeader("vit_rgd", Path("runs/vit_rgd/1"), 40, 20, None, summary))
    for step in range(1, 41):
        reporter.progress(step, step // 20)
        if step % 10 == 0:
            train = {
                "event": "train",
                "step": step,
                "epoch": 0,
                "loss": 1 / step,
                "objective": 0.5,
                "samples": 64 * step,
            }
            reporter.record(train)
            reporter.record({"event": "policy", "step": step, "epoch": 0, "q": {"a": 0.25, "b": 0.75}})
        if step % 20 == 0:
            reporter.record(evaluation(num_groups, step=step, seconds=0.1, best=True))
    for split in ("validation", "test"):
        reporter.record(
            evaluation(num_groups, split, 40, final=True, selected_step=20, balanced_accuracy=0.625)
        )
    reporter.close(outcome)


def test_a_pipe_gets_plain_lines_without_control_characters(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    drive(ConsoleReporter(every_seconds=0))
    text = capsys.readouterr().out
    assert not CONTROL.search(text), repr(text)
    lines = text.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert sum(line.startswith("step ") for line in lines) == 4
    assert any(
        re.fullmatch(r"step 40/40  epoch 2/2  loss 0\.0250  .*samples/s  ETA 0:00", line) for line in lines
    )
    assert (
        "validation  step 20  loss 0.7500  accuracy 0.5000  group average 0.5000"
        "  worst group label=0, background=land 0.2000  best"
    ) in lines
    assert "rgd [bold]not markup[/bold]" in text
    assert "test at the selected step 20" in lines
    assert any(re.fullmatch(r"balanced_accuracy +0\.6250", line) for line in lines)
    assert lines[-1] == "run folder: runs/vit_rgd/1"


def test_training_lines_are_rationed(capsys):
    drive(ConsoleReporter(every_seconds=1000))
    assert sum(line.startswith("step ") for line in capsys.readouterr().out.splitlines()) == 1


def test_an_interrupted_run_has_no_final_tables(capsys):
    drive(ConsoleReporter(), outcome="interrupted")
    text = capsys.readouterr().out
    assert "overall" not in text
    assert "interrupted after 0:00" in text


def test_a_locale_that_cannot_write_a_name_is_no_failure():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_console as t;"
        "t.Table.__init__.__defaults__ = ('caf\\xe9 {}',); t.drive(t.ConsoleReporter())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": ""},
        capture_output=True,
        check=True,
    )
    text = result.stdout.decode("ascii")
    assert "caf? 0" in text
    assert text.rstrip().endswith("run folder: runs/vit_rgd/1")


def rendered(renderable, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("num_groups", [1, 4, 24, 25, 300])
def test_tables_fit_and_show_the_worst_group_whatever_the_width(width, num_groups):
    record = evaluation(num_groups)
    text = rendered(evaluation_table(record, width=width), width)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    assert "\u2026" not in text, "rich cut something off that the layout should have left out"
    assert f"{record['worst_group_accuracy']:.4f}" in lines[3]
    assert sum(bool(re.match(r"(label=)?\d", line)) for line in lines) == (
        num_groups if num_groups <= 24 else 23
    )
    assert (num_groups > 24) == (f"... and {num_groups - 23} more" in text)
    assert re.search(rf"^overall .*{record['accuracy']:.4f}", text, re.MULTILINE)


def test_training_counts_are_shown_with_their_groups():
    text = rendered(evaluation_table(evaluation(4), width=100), 100)
    assert re.search(r"label=1, background=land +2,001 +5 +0\.4000 +0\.8000", text)


def test_empty_groups_are_last_and_have_no_numbers():
    groups = Table(3)
    sums = Sums.of({"accuracy": torch.tensor([1.0, 0.0])}, {}, torch.tensor([0, 2]), 3)
    record = {"split": "test", **averages(sums, groups, {"accuracy"})}
    rows = [line.split() for line in rendered(evaluation_table(record), 100).splitlines()[3:6]]
    assert [row[0] for row in rows] == ["label=2,", "label=0,", "label=1,"]
    assert rows[2][-1] == "-"


def test_policy_table_ranks_groups_and_counts_the_rest():
    record = {"event": "policy", "step": 3, "q": {f"g{i}": i / 190 for i in range(20)}}
    lines = rendered(policy_table(record, width=80), 80).splitlines()
    assert lines[3].startswith("g19")
    assert "... and 8 more" in "\n".join(lines)
    summary = {"groups": 1000, "min": 0.0, "max": 0.5, "entropy": 2.0, "top": {"7": 0.5, "8": 0.25}}
    text = rendered(policy_table({"event": "policy", "pi_summary": summary}, width=80), 80)
    assert "... and 998 more" in text
    assert policy_table({"event": "policy", "step": 3, "clipped": 1.0}) is None


def draw(terminal: str) -> None:
    """`drive` in a process whose terminal is `terminal`."""
    for descriptor in range(3):
        os.dup2(os.open(terminal, os.O_RDWR), descriptor)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    for key in ("COLUMNS", "LINES"):
        os.environ.pop(key, None)
    os.environ["TERM"] = "xterm-256color"
    drive(ConsoleReporter(), num_groups=30)


def on_terminal(columns: int) -> str:
    """What `drive` writes to a pseudo-terminal of so many columns."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = START.Process(target=draw, args=(os.ttyname(side),))
    process.start()
    output = bytearray()
    while True:
        ready, _, _ = select.select([main], [], [], 120)
        assert ready, "nothing was written for two minutes"
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not output:
            os.close(side)  # the process has it open
        output += piece
    os.close(main)
    process.join(60)
    assert process.exitcode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_gets_a_bar_that_never_wraps(columns):
    text = on_terminal(columns)
    assert "\u2501" in text, "no bar was drawn"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = re.split(r"[\r\n]+", plain)
    long = [line for line in lines if len(line.rstrip()) > columns]
    assert not long, long
    assert any(line.startswith("validation") and "worst group" in line for line in lines)
    assert any("worst group" in line and line.startswith("loss") for line in lines), "the bar's second line"


def test_drawing_needs_no_thread(capsys):
    before = threading.active_count()
    reporter = ConsoleReporter(progress="bar")
    reporter.start(RunHeader("r", Path("runs"), 10, 5, 4, ()))
    assert threading.active_count() == before
    reporter.close("stopped")
    assert "going on from step 4 of 10" in capsys.readouterr().out
