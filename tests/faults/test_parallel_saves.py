"""Two processes write a checkpoint while they train, and something goes wrong in the middle of it."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.checkpoint import saver
from framework.checkpoint.store import CheckpointStore
from framework.errors import EXIT_FAILED, EXIT_USER
from framework.parallel.world import World
from tests.distributed import start_ranks
from tests.faults.test_rank_faults import BOUND, command, nothing, status
from tests.processes import weights
from tests.tiny import comparable, write

WORDS = [
    "engine=fsdp",
    "checkpoint.every_epochs=null",
    "checkpoint.every_steps=4",
    "launch.timeout_seconds=30",
]
SAVES = {"count": 0}


def at_save(number: int, rank: int, act: Callable[[], None]) -> None:
    """Have `act` happen in the writing thread of `rank` at its save of that number, before it writes."""
    write_share = saver.write_share

    def patched(*args: Any) -> Any:
        SAVES["count"] += 1
        if SAVES["count"] == number and World.detect().rank == rank:
            assert threading.current_thread().name == "checkpoint"
            act()
        return write_share(*args)

    saver.write_share = patched  # type: ignore[attr-defined]


def dies_saving(rank: int) -> None:
    at_save(2, rank, lambda: os.kill(os.getpid(), signal.SIGKILL))


def both_die_saving(rank: int) -> None:
    dies_saving(World.detect().rank)


def has_no_space(rank: int) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at_save(2, rank, full)


def is_slow(rank: int) -> None:
    at_save(1, rank, lambda: time.sleep(1.0))
    at_save(2, rank, lambda: time.sleep(0.5))


def run(folder: Path, fault: Callable[[int], None], rank: int = 1) -> tuple[list[int | None], list[str]]:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("rank-*.txt"):
        old.unlink()
    words = [f"conf={write(folder)}", f"run.dir={folder}/run", *WORDS]
    codes = start_ranks(command, 2, words, fault, rank, output=folder).exit_codes(BOUND)
    return codes, [(folder / f"rank-{i}.txt").read_text() for i in range(2)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, nothing)[0] == [0, 0]
    return folder / "run"


def same(folder: Path, whole: Path) -> bool:
    metrics = comparable(folder / "metrics.jsonl") == comparable(whole / "metrics.jsonl")
    return metrics and weights(folder) == weights(whole)


@pytest.mark.parametrize(("fault", "rank"), [(dies_saving, 0), (dies_saving, 1), (both_die_saving, 0)])
def test_killed_in_the_writing_thread(
    fault: Callable[[int], None], rank: int, whole: Path, tmp_path: Path
) -> None:
    codes, printed = run(tmp_path, fault, rank)
    if fault is both_die_saving:
        assert codes == [-signal.SIGKILL] * 2
    else:
        assert codes[rank] == -signal.SIGKILL
        assert codes[1 - rank] == EXIT_FAILED
        assert f"rank {rank} of 2 ended without a word" in printed[1 - rank]
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.load().step == 4
    assert run(tmp_path, nothing)[0] == [0, 0]
    assert same(tmp_path / "run", whole)
    assert not list(store.folder.glob("*.tmp-*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_in_the_thread_of_one_rank_ends_all_with_one_message(
    rank: int, whole: Path, tmp_path: Path
) -> None:
    codes, printed = run(tmp_path, has_no_space, rank)
    assert codes == [EXIT_USER, EXIT_USER]
    assert "step-00000008 cannot be written: No space left on device" in printed[0]
    assert printed[0].count("error:") == 1
    assert printed[1] == ""
    assert '"failed"' in status(tmp_path)
    assert CheckpointStore(tmp_path / "run" / "checkpoints").load().step == 4
    assert run(tmp_path, nothing)[0] == [0, 0]
    assert same(tmp_path / "run", whole)


def test_a_slow_disk_does_not_change_the_numbers(whole: Path, tmp_path: Path) -> None:
    assert run(tmp_path, is_slow)[0] == [0, 0]
    assert same(tmp_path / "run", whole)
