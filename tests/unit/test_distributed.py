"""The helper of the tests on several processes itself: results, tracebacks, and no rank left behind."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from torch import distributed

from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import RankError, run_ranks, start_ranks


def summed(value: float) -> tuple[int, float]:
    world = World.detect()
    with process_group(world, 30):
        total = torch.tensor(value * (world.rank + 1))
        distributed.all_reduce(total)
    return world.rank, float(total)


def raises_on(rank: int) -> None:
    world = World.detect()
    with process_group(world, 30):
        if world.rank == rank:
            raise LookupError("the cause")
        distributed.barrier()


def dies() -> None:
    if World.detect().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def sleeps() -> None:
    time.sleep(600)


def test_results_come_in_the_order_of_the_ranks() -> None:
    assert run_ranks(summed, 2, 2.0) == [(0, 6.0), (1, 6.0)]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_traceback_of_the_cause_comes_first(rank: int) -> None:
    with pytest.raises(RankError, match=rf"^rank {rank}: Traceback[^\0]*the cause"):
        run_ranks(raises_on, 2, rank)


def test_a_dead_rank_ends_the_others() -> None:
    with pytest.raises(RankError, match="rank 1: ended with exit code -9"):
        run_ranks(dies, 2)


def test_a_hanging_rank_ends_the_test() -> None:
    with pytest.raises(RankError, match=r"rank\(s\) \[0, 1\] of 2 did not end in time"):
        run_ranks(sleeps, 2, timeout=1)


def test_exit_codes_of_ranks_that_are_killed() -> None:
    ranks = start_ranks(sleeps, 2)
    ranks.processes[0].kill()
    ranks.processes[0].join()
    assert ranks.exit_codes(0)[0] == -signal.SIGKILL
    assert all(process.exitcode == -signal.SIGKILL for process in ranks.processes)
