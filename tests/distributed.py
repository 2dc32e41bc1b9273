"""A plain function in several processes that find each other as under a launcher: gloo on this machine."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from tests.forked import START

#: how long other tracebacks are awaited once a rank has failed; the first to arrive need not be the cause
_GRACE_SECONDS = 1.5
#: what a rank says when another one has gone, as gloo puts it
_CONSEQUENCES = ("closed by peer", "reset by peer", "Broken pipe", "Timed out waiting")


class RankError(AssertionError):
    """A rank raised, died or did not end in time; the message begins with the cause."""


@dataclass
class Ranks:
    """Processes that were started together.

    Attributes:
        processes: one per rank.
        pipes: where each rank's result arrives: (True, value), (False, traceback), nothing if it was killed.
        store: where the ranks meet; it must outlive them.
    """

    processes: list[BaseProcess]
    pipes: list[Connection]
    store: TCPStore

    def kill(self) -> None:
        """End all of them at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def exit_codes(self, timeout: float) -> list[int | None]:
        """Wait for all to end; what still runs after `timeout` seconds is killed and counts as None."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        codes = [process.exitcode for process in self.processes]
        self.kill()
        return codes


def run_ranks(function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 120) -> list[Any]:
    """What `function(*args)` returns on each of `world_size` ranks.

    Inside, `World.detect()` gives the rank and `process_group(world, seconds)` connects it to the others.
    `function` stands at the top of a module; arguments and results are pickled.

    Raises:
        RankError: a rank raised, died, or was not done after `timeout` seconds; no rank is left running.
    """
    ranks = start_ranks(function, world_size, *args)
    try:
        return _results(ranks, time.monotonic() + timeout)
    finally:
        ranks.kill()


def start_ranks(
    function: Callable[..., Any], world_size: int, *args: Any, output: Path | None = None
) -> Ranks:
    """Start `function(*args)` on `world_size` ranks and leave them running.

    Args:
        output: folder for what each rank prints, as rank-N.txt; None prints here.
    """
    # The store listens on a port of its own choice, so no two tests can meet on one.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    for rank in range(world_size):
        pipe, sender = START.Pipe(duplex=False)
        own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        file = output / f"rank-{rank}.txt" if output is not None else None
        process = START.Process(target=_work, args=(function, args, own, sender, file), daemon=True)
        process.start()
        sender.close()
        processes.append(process)
        pipes.append(pipe)
    return Ranks(processes, pipes, store)


def _work(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    environment: dict[str, str],
    pipe: Connection,
    output: Path | None,
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    if output is not None:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    try:
        result = function(*args)
    except SystemExit:
        raise
    except BaseException:
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        pipe.send((False, text))
        raise SystemExit(1) from None
    pipe.send((True, result))


def _results(ranks: Ranks, deadline: float) -> list[Any]:
    pending = dict(enumerate(ranks.pipes))
    results: dict[int, Any] = {}
    failures: dict[int, str] = {}
    while pending and time.monotonic() < deadline:
        ready = wait(list(pending.values()), max(deadline - time.monotonic(), 0))
        for rank, pipe in list(pending.items()):
            if pipe not in ready:
                continue
            del pending[rank]
            try:
                fine, value = pipe.recv()
            except EOFError:
                ranks.processes[rank].join()
                fine, value = False, f"ended with exit code {ranks.processes[rank].exitcode} and no result"
            if fine:
                results[rank] = value
            else:
                deadline = min(deadline, time.monotonic() + _GRACE_SECONDS) if not failures else deadline
                failures[rank] = value
    if failures:
        raise RankError(_told(failures))
    if pending:
        raise RankError(f"rank(s) {sorted(pending)} of {len(ranks.pipes)} did not end in time")
    return [results[rank] for rank in range(len(ranks.pipes))]


def _told(failures: dict[int, str]) -> str:
    """The cause first: a rank that lost another one has only seen a consequence."""
    by_cause = sorted(failures.items(), key=lambda item: any(text in item[1] for text in _CONSEQUENCES))
    return "\n".join(f"rank {rank}: {text}" for rank, text in by_cause)
