"""A run that is killed with SIGKILL anywhere, and started again, is the run that was never killed."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from framework.config.load import load
from tests.processes import START, weights
from tests.tiny import comparable, write

CASES = {
    "erm": ["policy=erm", "optimizer=adamw", "train.ema={decay: 0.9}", "optimizer.lr=0.01"],
    "rgd": ["policy=rgd", "policy.normalization=sum_one", "batch.micro=8", "model.dropout=0.3"],
    "group_dro": [
        *("policy=group_dro", "policy.step_size=0.5", "data.sampling.name=group_balanced"),
        *("batch.micro=8", "model.dropout=0.3"),
    ],
    "also": [
        *("policy=also", "policy.pi_lr=0.5", "optimizer=adam", "optimizer.lr=0.01", "schedule=cosine"),
        "train.ema={decay: 0.9}",
    ],
}
#: the others have nothing to lose that these have not
QUICK = ("group_dro", "also")
QUICK_FIRST = [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
COMMON = [
    "train.steps=150",
    "checkpoint.every_steps=7",
    "checkpoint.every_epochs=null",
    "evaluate.every_steps=25",
    "evaluate.every_epochs=null",
    "log.every_steps=3",
]
KILLS = 4


def work(conf: str, overrides: list[str]) -> None:
    import torch

    from framework.run import train

    torch.set_num_threads(1)
    raise SystemExit(train(load(conf, overrides)))


def start(conf: Path, folder: Path, case: str) -> BaseProcess:
    process = START.Process(target=work, args=(str(conf), [*COMMON, *CASES[case], f"run.dir={folder}"]))
    process.start()
    return process


@pytest.mark.parametrize("case", QUICK_FIRST)
def test_killed_anywhere_gives_the_same_numbers(case: str, tmp_path: Path) -> None:
    chance = random.Random(case)
    conf = write(tmp_path)
    whole = tmp_path / "whole"
    reference = start(conf, whole, case)
    reference.join(120)
    assert reference.exitcode == 0
    num_lines = (whole / "metrics.jsonl").read_text().count("\n")

    killed = tmp_path / "killed"
    kills = 0
    for target in sorted(chance.sample(range(1, num_lines), KILLS)):
        process = start(conf, killed, case)
        while process.is_alive() and lines(killed) < target:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join(120)
    last = start(conf, killed, case)
    last.join(120)
    assert last.exitcode in (0, 2)  # 2: the last kill came after the run was complete, and it says so
    assert kills >= KILLS - 1
    assert comparable(killed / "metrics.jsonl") == comparable(whole / "metrics.jsonl")
    assert weights(killed) == weights(whole)


def lines(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
