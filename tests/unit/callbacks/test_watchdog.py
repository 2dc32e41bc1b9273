"""A hang is made in a process of its own, whose output is then read."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

from framework.callbacks.watchdog import Watchdog

SCRIPT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from framework.callbacks.watchdog import Watchdog
from framework.reporting.log_file import open_log

def stand_still_here(seconds):
    time.sleep(seconds)

run = SimpleNamespace(progress=SimpleNamespace(step=7), dir=Path(sys.argv[1]))
with open_log(run.dir):
    watchdog = Watchdog(seconds=1.5, exit=sys.argv[2] == "exit")
    watchdog.on_start(run)
    for _ in range(6):
        time.sleep(0.2)
        watchdog.on_step(run)
    stand_still_here(4)
    watchdog.on_step(run)
    time.sleep(1)
    watchdog.on_end(run)
print("came to the end")
"""


def hang(folder, mode):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), mode],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_standstill_is_told_once_with_the_stacks_and_the_run_goes_on(tmp_path):
    result = hang(tmp_path, "stay")
    assert result.returncode == 0, result.stderr
    assert "came to the end" in result.stdout
    for text in (result.stderr, (tmp_path / "log.txt").read_text()):
        assert text.count("watchdog: nothing has moved for") == 1
        assert "after step 7" in text
        assert "in stand_still_here" in text
        assert "the run moves again after" in text


def test_it_ends_the_process_if_asked_to(tmp_path):
    result = hang(tmp_path, "exit")
    assert result.returncode == 75
    assert "came to the end" not in result.stdout
    assert "in stand_still_here" in (tmp_path / "log.txt").read_text()


def test_its_thread_ends_with_the_run():
    run = SimpleNamespace(progress=SimpleNamespace(step=0), dir=None)
    watchdog = Watchdog(seconds=100)
    watchdog.on_start(run)
    assert any(thread.name == "watchdog" for thread in threading.enumerate())
    watchdog.on_end(run)
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
    watchdog.on_end(run)
