"""On several processes a step has one exchange of the framework's own, which carries the stop signal too."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.training.assemble import Run, assemble
from framework.training.loop import advance
from framework.training.stop_signal import StopRequested, StopSignal
from tests.distributed import run_ranks
from tests.tiny import loaded

QUIET = ["engine=ddp", "evaluate.every_epochs=null", "checkpoint.every_epochs=null", "log.every_steps=2"]
#: overrides, how many exchanges of samples a step has, and the method of the engine at which the signal comes
CASES: dict[str, tuple[list[str], int, str]] = {
    "one pass": (["policy=erm"], 1, "forward"),
    "one pass, two micro-batches": (["policy=erm", "batch.micro=8"], 1, "forward"),
    "whole batch": (["policy=group_dro"], 1, "forward"),
    "whole batch, two micro-batches": (["policy=group_dro", "batch.micro=8"], 1, "forward"),
    "per micro": (["policy=group_dro", "batch.micro=8", "batch.accumulation=per_micro"], 2, "forward"),
    "after the exchange": (["policy=group_dro"], 1, "step"),
    "sam": (["policy=rgd", "train.sam={rho: 0.05}"], 2, "forward"),
}
#: every collective that Python code can ask for; DDP's own are asked for elsewhere
COLLECTIVES = [
    name
    for name in dir(distributed)
    if name.startswith(("all_", "broadcast", "gather", "scatter", "reduce", "barrier"))
    and callable(getattr(distributed, name))
]


def built(overrides: list[str], world: World) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        return assemble(loaded(Path(folder), [*QUIET, *overrides], world.size).config, world=world)


def counted(calls: list[str]) -> None:
    """From here on every collective adds its name to `calls`."""

    def counting(name: str, collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return collective(*args, **options)

        return call

    for name in COLLECTIVES:
        setattr(distributed, name, counting(name, getattr(distributed, name)))


def signalled(run: Run, where: str) -> None:
    """Rank 1 gets a signal when it comes to the method `where` of its engine in step 5."""
    call = getattr(run.engine, where)

    def reached(*args: Any, **options: Any) -> Any:
        if run.progress.step == 4 and run.world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(*args, **options)

    setattr(run.engine, where, reached)


def trained(run: Run, signals: StopSignal, calls: list[str]) -> list[int]:
    """How many collectives each step asked for, until a signal stops the run."""
    found: list[int] = []
    try:
        while run.progress.step < 8:
            calls.clear()
            advance(run, signals)
            found.append(len(calls))
    except StopRequested:
        assert calls == [], "what the samples carried is not asked again"
    return found


def observed() -> dict[str, tuple[list[int], str | None]]:
    """Of each case the collectives of its steps, and what stopped it."""
    world = World.detect()
    found, calls = {}, list[str]()
    with process_group(world, 60):
        counted(calls)
        for case, (overrides, _, where) in CASES.items():
            run = built(overrides, world)
            signalled(run, where)
            with StopSignal(world) as signals:
                found[case] = (trained(run, signals, calls), signals.received)
    return found


def test_one_exchange_a_step_and_a_stop_that_all_ranks_share() -> None:
    first, second = run_ranks(observed, 2)
    for case, (_, exchanges, where) in CASES.items():
        # Before the first step there were no samples to carry the answer. A signal that comes when those
        # of its step have gone travels with those of the next.
        steps = [1 + exchanges, *[exchanges] * (4 if where == "forward" else 5)]
        assert first[case] == (steps, "a signal to another process"), case
        assert second[case] == (steps, "SIGTERM"), case
