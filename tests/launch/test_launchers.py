"""Each launcher starts the same run: the numbers of one process, one process that speaks, one end for all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import run
from tests.tiny import comparable, write

#: launcher -> the words before `conf=`; Open MPI starts as root, and more processes than cores, only if told
COMMANDS = {
    "torchrun": ["torchrun", "--nproc-per-node", "2", "-m", "framework"],
    "deepspeed": ["deepspeed", "--quiet", "--num_accelerators", "2", "--module", "framework"],
    "mpirun": [
        *("mpirun", "-np", "2", "--allow-run-as-root", "--oversubscribe"),
        *(sys.executable, "-m", "framework"),
    ],
}
WORDS = [
    "policy=group_dro",
    "train.clip_norm=1.0",
    "train.steps=20",
    "log.every_steps=1",
    "reporting=console",
]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", COMMANDS)
def test_the_numbers_are_those_of_one_process(launcher: str, tmp_path: Path) -> None:
    program = find(launcher)
    conf = write(tmp_path)
    command = [program, *COMMANDS[launcher][1:], f"conf={conf}", *WORDS, "engine=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*command, f"run.dir={tmp_path / 'two'}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: ") == 1
    assert run(tmp_path / "one", WORDS) == 0
    agree(tmp_path / "two", tmp_path / "one")


def find(program: str) -> str:
    """Where it is installed: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def agree(folder: Path, reference: Path) -> None:
    """Every record of two runs is the same, numbers to fp32 rounding."""
    own, others = (
        [record for record in comparable(path / "metrics.jsonl") if record["event"] != "probe"]
        for path in (folder, reference)
    )
    assert len(own) == len(others)
    for mine, other in zip(own, others, strict=True):
        assert flat(mine) == pytest.approx(flat(other), abs=2e-6)


def flat(value: object, key: str = "") -> dict[str, object]:
    """The leaves of a record by their paths."""
    if isinstance(value, dict):
        parts = [flat(inner, f"{key}.{name}") for name, inner in value.items()]
    elif isinstance(value, list):
        parts = [flat(inner, f"{key}.{number}") for number, inner in enumerate(value)]
    else:
        return {key: value}
    return {name: leaf for part in parts for name, leaf in part.items()}
