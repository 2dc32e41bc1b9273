"""`launch=local` starts the processes of a run itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.errors import EXIT_REQUEUE, ConfigError
from tests.resume.test_kill import lines
from tests.tiny import loaded, write

LOCAL = ["launch=local", "launch.num_processes=2", "engine=auto"]


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "framework", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, env=environment, text=True)


def test_it_trains_and_saves_on_a_signal(tmp_path: Path) -> None:
    conf, folder = write(tmp_path), tmp_path / "run"
    words = [f"conf={conf}", f"run.dir={folder}", "train.steps=100000", "log.every_steps=1", *LOCAL]
    process = started(tmp_path, *words)
    deadline = time.monotonic() + 120
    while lines(folder) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == EXIT_REQUEUE, (tmp_path / "err.txt").read_text()
    assert '"interrupted"' in (folder / "status.json").read_text()
    assert "engine" in (folder / "config.yaml").read_text()


@pytest.mark.slow
def test_check_shows_the_arithmetic_of_that_world(tmp_path: Path) -> None:
    process = started(tmp_path, "check", f"conf={write(tmp_path)}", "batch.micro=8", *LOCAL)
    assert process.wait(120) == 0, (tmp_path / "err.txt").read_text()
    assert "32 = 8 x 2 micro-batches x 2 ranks" in (tmp_path / "out.txt").read_text()
    assert (tmp_path / "out.txt").read_text().count("\nok\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch=local"], "needs the number of processes"),
        (["launch.num_processes=2"], "only launch=local starts processes"),
        (["launch=local", "launch.num_processes=3"], "32 samples do not divide over 3 ranks"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_starts(
    words: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, words)
