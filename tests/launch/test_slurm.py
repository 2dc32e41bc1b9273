"""Two tasks on two nodes of a real Slurm: the numbers of one process, and a job that is put back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.slurm_cluster import cluster, missing
from tests.launch.test_launchers import WORDS, agree
from tests.processes import run
from tests.resume.test_kill import lines
from tests.tiny import comparable, write

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
STEP = ["srun", "-N", "2", "--ntasks-per-node", "1", sys.executable, "-m", "framework"]
LONG = 300


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def test_two_nodes_give_the_numbers_of_one_process(slurm: dict[str, str], tmp_path: Path) -> None:
    words = [f"conf={write(tmp_path)}", *WORDS, "engine=zero3", f"run.dir={tmp_path / 'two'}"]
    done = subprocess.run([*STEP, *words], env=slurm, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: ") == 1
    assert run(tmp_path / "one", WORDS) == 0
    agree(tmp_path / "two", tmp_path / "one")


def test_an_allocation_without_srun_is_one_process(slurm: dict[str, str], tmp_path: Path) -> None:
    words = [f"conf={write(tmp_path)}", "train.steps=3", f"run.dir={tmp_path / 'run'}"]
    command = ["salloc", "-N", "2", "--ntasks-per-node", "1", sys.executable, "-m", "framework", *words]
    done = subprocess.run(command, env=slurm, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr


def test_a_requeued_job_goes_on(slurm: dict[str, str], tmp_path: Path) -> None:
    folder, script = tmp_path / "run", tmp_path / "job.sh"
    words = [f"conf={write(tmp_path)}", *WORDS, "engine=zero3", "train.steps=400", f"run.dir={folder}"]
    script.write_text(f"#!/bin/bash\n{' '.join([*STEP, *map(repr, words)])}\n")
    submit = ["sbatch", "--parsable", "--requeue", "-N", "2", "--ntasks-per-node", "1", str(script)]
    job = subprocess.run(
        submit, env=slurm, cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    wait_for(lambda: lines(folder) >= 20)
    subprocess.run(["scontrol", "requeue", job], env=slurm, check=True)
    wait_for(lambda: state(folder) == "interrupted")
    # Slurm holds a job that was put back for two minutes.
    wait_for(lambda: state(folder) == "finished")

    starts = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    resumed = [record["resumed_at"] for record in starts if record["event"] == "run"]
    assert len(resumed) == 2
    assert resumed[0] is None
    assert resumed[1] >= 10
    unbroken = tmp_path / "unbroken"
    subprocess.run(
        [*STEP, *words[:-1], f"run.dir={unbroken}"], env=slurm, check=True, capture_output=True, timeout=LONG
    )
    assert trained(folder) == trained(unbroken)


def trained(folder: Path) -> list[dict[str, object]]:
    return [record for record in comparable(folder / "metrics.jsonl") if record["event"] != "checkpoint"]


def state(folder: Path) -> str:
    file = folder / "status.json"
    return str(json.loads(file.read_text())["state"]) if file.exists() else ""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
