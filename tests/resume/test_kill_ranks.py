"""Several processes: killed one or all, anywhere, and started again, they are the run that never was."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.distributed import Ranks, start_ranks
from tests.resume.test_kill import lines, weights
from tests.tiny import comparable, write

KILLS = 2
COMMON = [
    "engine=auto",
    "policy=rgd",
    "policy.normalization=sum_one",
    "model.dropout=0.3",
    "batch.micro=8",
    "optimizer={name: sgd, lr: 0.1, momentum: 0.9}",
    "train.steps=60",
    "train.ema={decay: 0.9}",
    "checkpoint.every_steps=7",
    "checkpoint.every_epochs=null",
    "evaluate.every_steps=20",
    "evaluate.every_epochs=null",
    "log.every_steps=3",
    "launch.timeout_seconds=30",
]


def work(conf: str, overrides: list[str], before: Callable[[], None] | None) -> None:
    from framework.__main__ import main

    if before is not None:
        before()
    raise SystemExit(main([f"conf={conf}", *overrides]))


def start(
    conf: Path, folder: Path, *, num: int = 2, words: tuple[str, ...] = (), before: Any = None
) -> Ranks:
    overrides = [*COMMON, *words, f"run.dir={folder}"]
    return start_ranks(work, num, str(conf), overrides, before, output=conf.parent)


def whole(conf: Path, folder: Path, *, num: int = 2, words: tuple[str, ...] = ()) -> None:
    codes = start(conf, folder, num=num, words=words).exit_codes(120)
    assert set(codes) <= {0, 2}, (conf.parent / "rank-0.txt").read_text()


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that never was killed."""
    folder = tmp_path_factory.mktemp("whole")
    whole(write(folder), folder / "run")
    return folder / "run"


class DieInRename:
    """Kills rank 0 before the n-th file or folder takes its final name."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> None:
        for name in ("rename", "replace"):
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: Any, **options: Any) -> None:
            self.number -= 1
            if self.number == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*args, **options)

        return counted


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param([1], id="rank 1"),
        pytest.param([0], id="rank 0", marks=pytest.mark.slow),
        pytest.param([0, 1], id="all"),
    ],
)
def test_killed_at_random_points_gives_the_same_numbers(
    victims: list[int], conf: Path, reference: Path, tmp_path: Path
) -> None:
    chance = random.Random(str(victims))
    killed = tmp_path / "killed"
    num_lines = lines(reference)
    for target in sorted(chance.sample(range(2, num_lines - 4), KILLS)):
        ranks = start(conf, killed)
        while ranks.processes[0].is_alive() and lines(killed) < target:
            time.sleep(0.001)
        for rank in victims:
            ranks.processes[rank].kill()
        codes = ranks.exit_codes(120)
        assert None not in codes
        assert -signal.SIGKILL in codes
    whole(conf, killed)
    assert comparable(killed / "metrics.jsonl") == comparable(reference / "metrics.jsonl")
    assert weights(killed) == weights(reference)


def test_killed_while_saving_gives_the_same_numbers(conf: Path, reference: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    for number in (3, 6, 7):
        codes = start(conf, killed, before=DieInRename(number)).exit_codes(120)
        assert codes[0] == -signal.SIGKILL
        assert codes[1] is not None
    whole(conf, killed)
    assert comparable(killed / "metrics.jsonl") == comparable(reference / "metrics.jsonl")
    assert weights(killed) == weights(reference)


def test_another_engine_and_number_of_processes_continue_the_same_curve(conf: Path, tmp_path: Path) -> None:
    reference, moved = tmp_path / "whole", tmp_path / "moved"
    no_dropout = ("model.dropout=0",)
    whole(conf, reference, words=no_dropout)
    for num, engine, target in ((2, "fsdp", 6), (1, "single", 16)):
        ranks = start(conf, moved, num=num, words=(*no_dropout, f"engine={engine}"))
        while ranks.processes[0].is_alive() and lines(moved) < target:
            time.sleep(0.001)
        for process in ranks.processes:
            process.kill()
        ranks.exit_codes(120)
    whole(conf, moved, words=no_dropout)
    here, there = comparable(moved / "metrics.jsonl"), comparable(reference / "metrics.jsonl")
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):
        assert_close(a, b)


def assert_close(here: Any, there: Any) -> None:
    if isinstance(here, dict):
        assert here.keys() == there.keys()
        for key in here:
            assert_close(here[key], there[key])
    elif isinstance(here, list):
        for a, b in zip(here, there, strict=True):
            assert_close(a, b)
    elif isinstance(here, float):
        assert math.isclose(here, there, rel_tol=1e-5, abs_tol=1e-6), (here, there)
    else:
        assert here == there
