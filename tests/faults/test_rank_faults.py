"""One process fails in some way: all end alike, in bounded time, and the cause is told once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from framework.errors import EXIT_FAILED, EXIT_REQUEUE, EXIT_USER, DataError
from framework.parallel.world import World
from framework.training.step import Step
from tests.distributed import start_ranks
from tests.tiny import write

#: seconds that no healthy run comes near, however busy the machine
BOUND = 150


def in_step(number: int, rank: int, act: Callable[[], None]) -> None:
    """Have `act` happen on `rank` instead of step `number`."""
    step, count = Step.__call__, 0

    def patched(self: Step, batch: object) -> object:
        nonlocal count
        count += 1
        if count == number and World.detect().rank == rank:
            act()
        return step(self, batch)  # type: ignore[arg-type]

    Step.__call__ = patched  # type: ignore[assignment, method-assign]


def raises_data_error(rank: int) -> None:
    def act() -> None:
        raise DataError("shard 3 is cut short")

    in_step(4, rank, act)


def raises_anything(rank: int) -> None:
    def act() -> None:
        raise LookupError("a mistake in a plugin")

    in_step(4, rank, act)


def hangs(rank: int) -> None:
    def stuck_here() -> None:
        time.sleep(600)

    in_step(4, rank, stuck_here)


def dies(rank: int) -> None:
    in_step(4, rank, lambda: os.kill(os.getpid(), signal.SIGKILL))


def gets_sigterm(rank: int) -> None:
    in_step(4, rank, lambda: os.kill(os.getpid(), signal.SIGTERM))


def sees_nan(rank: int, *, always: bool = False) -> None:
    from framework.tasks.classification import Classification

    losses, count = Classification.losses, 0

    def patched(self: Classification, outputs: torch.Tensor, batch: object) -> torch.Tensor:
        nonlocal count
        result = losses(self, outputs, batch)  # type: ignore[arg-type]
        count += torch.is_grad_enabled()
        if World.detect().rank == rank and (count == 4 or (always and count >= 4)):
            return result * float("nan")
        return result

    Classification.losses = patched  # type: ignore[method-assign]


def sees_nan_always(rank: int) -> None:
    sees_nan(rank, always=True)


def nothing(rank: int) -> None:
    pass


def command(words: list[str], fault: Callable[[int], None], rank: int) -> None:
    from framework.__main__ import main

    fault(rank)
    raise SystemExit(main(words))


def run(
    folder: Path,
    fault: Callable[[int], None],
    rank: int = 1,
    words: tuple[str, ...] = (),
    until: int | None = None,
) -> tuple[list[int | None], list[str]]:
    """Exit codes of two ranks, and what each printed.

    Args:
        until: once this rank has ended, the others are ended too; their codes are None.
    """
    conf = write(folder)
    given = [f"conf={conf}", "engine=ddp", f"run.dir={folder}/run", "launch.timeout_seconds=30", *words]
    ranks = start_ranks(command, 2, given, fault, rank, output=folder)
    if until is not None:
        ranks.processes[until].join(BOUND)
    codes = ranks.exit_codes(0 if until is not None else BOUND)
    return codes, [(folder / f"rank-{i}.txt").read_text() for i in range(2)]


def status(folder: Path) -> str:
    return (folder / "run" / "status.json").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_data_error_on_one_rank_ends_all_with_its_message(rank: int, tmp_path: Path) -> None:
    codes, printed = run(tmp_path, raises_data_error, rank)
    assert codes == [EXIT_USER, EXIT_USER]
    prefix = "" if rank == 0 else "rank 1: "
    assert printed[rank] == f"{prefix}error: shard 3 is cut short\n"
    assert printed[1 - rank] == ""
    assert '"failed"' in status(tmp_path)
    assert "shard 3 is cut short" in status(tmp_path)


def test_an_exception_on_one_rank_shows_its_traceback_alone(tmp_path: Path) -> None:
    codes, printed = run(tmp_path, raises_anything)
    assert codes == [EXIT_FAILED, EXIT_FAILED]
    assert printed[0] == ""
    assert printed[1].startswith("rank 1: Traceback")
    assert printed[1].count("Traceback") == 1
    assert "a mistake in a plugin" in printed[1]
    assert "a mistake in a plugin" in (tmp_path / "run" / "log-rank-0001.txt").read_text()
    assert "rank 1: LookupError: a mistake in a plugin" in status(tmp_path)


def test_a_hanging_rank_is_named_and_says_where_it_stands(tmp_path: Path) -> None:
    codes, printed = run(tmp_path, hangs, words=("launch.timeout_seconds=4",), until=0)
    assert codes[0] == EXIT_FAILED
    assert codes[1] is None  # a launcher ends it
    assert printed[0].startswith("error: rank 1 of 2 did not answer for 4 s (launch.timeout_seconds)")
    assert printed[0].count("\n") == 1
    stacks = (tmp_path / "run" / "log-rank-0001.txt").read_text()
    assert "stuck_here" in stacks
    assert "standstill" in stacks or "_watch" in stacks  # other threads too


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named(rank: int, tmp_path: Path) -> None:
    codes, printed = run(tmp_path, dies, rank)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == EXIT_FAILED
    assert f"rank {rank} of 2 ended without a word" in printed[1 - rank]
    assert printed[1 - rank].count("\n") == 1


def test_a_signal_to_one_rank_stops_all_after_one_save(tmp_path: Path) -> None:
    codes, printed = run(tmp_path, gets_sigterm)
    assert codes == [EXIT_REQUEUE, EXIT_REQUEUE]
    assert printed[1] == ""
    assert '"interrupted"' in status(tmp_path)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step*"))
    codes, _ = run(tmp_path, nothing)
    assert codes == [0, 0]


def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_by_all(tmp_path: Path) -> None:
    codes, printed = run(tmp_path, sees_nan)
    assert codes == [0, 0]
    assert printed[0].count("step 4 skipped") == 1
    assert "skipped" not in printed[1]


def test_losses_that_stay_not_finite_stop_all_with_one_message(tmp_path: Path) -> None:
    codes, printed = run(tmp_path, sees_nan_always, words=("train.max_skipped=2",))
    assert codes == [EXIT_USER, EXIT_USER]
    assert printed[0].count("error:") == 1
    assert "steps in a row gave non-finite numbers" in printed[0]
    assert printed[1] == ""


@pytest.mark.parametrize(
    "words",
    [("optimizer.lrr=1",), ("batch.size=33",), ("select.metric=nothing",), ("data.groups=[label, colour]",)],
)
def test_a_mistake_that_all_see_is_told_once(words: tuple[str, ...], tmp_path: Path) -> None:
    codes, printed = run(tmp_path, nothing, words=words)
    assert codes == [EXIT_USER, EXIT_USER]
    assert "problem" in printed[0] or "error" in printed[0]
    assert printed[1] == ""
