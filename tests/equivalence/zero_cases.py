"""What the tests of the ZeRO engines do on each rank: legs of a run, and what a dropped gradient leaves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.store import CheckpointStore
from framework.config.load import load
from framework.data.batch import GlobalBatch
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.training.assemble import Run, assemble
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import write
from tests.whole import whole_state

STEPS = 12
COMMON = [
    f"train.steps={STEPS}",
    "train.clip_norm=1.5",
    "batch.size=40",
    "evaluate.every_epochs=null",
    "checkpoint.every_epochs=null",
]
#: what has most state: moments, a point ahead, an average, two parameter groups, a schedule
RICH = [
    "policy=also",
    "policy.pi_lr=0.5",
    "optimizer=adamw",
    "optimizer.lr=0.01",
    "train.weight_decay_on=matrices",
    "train.ema={decay: 0.9}",
    "schedule=cosine",
]
MOMENTUM = ["optimizer={name: sgd, lr: 0.1, momentum: 0.9}"]


def built(overrides: list[str], world: World, store: CheckpointStore | None = None) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(str(write(Path(folder))), [*COMMON, *overrides], world_size=world.size)
    run = assemble(loaded.config, world=world, store=store)
    run.meta = {"config": loaded.data, "data": run.data.fingerprint()}
    return run


def advanced(run: Run, step: int) -> None:
    with StopSignal(run.world) as signals:
        while run.progress.step < step:
            advance(run, signals)


def leg(overrides: list[str], folder: Path, start: Path | None, step: int) -> Path:
    """Train from the checkpoint `start` to `step` and save; every rank of the group calls it."""
    world = World.detect()
    with process_group(world, 60):
        return walked(overrides, folder, start, step, world)


def walked(overrides: list[str], folder: Path, start: Path | None, step: int, world: World) -> Path:
    run = built(overrides, world, CheckpointStore(folder))
    if start is not None:
        run.load(open_checkpoint(start))
    advanced(run, step)
    return saved(run)


def saved(run: Run) -> Path:
    """The published checkpoint of this moment."""
    run.save()
    path = run.collect(wait=True)
    assert path is not None
    return path


def engine_state(path: Path) -> dict[str, np.ndarray]:
    """The numbers of the engine's state in a checkpoint, by their place in it."""
    return dict(_numbers(open_checkpoint(path).parts["engine"], ""))


def _numbers(value: Any, place: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _numbers(item, f"{place}/{key}")]
    if isinstance(value, list | tuple):
        return [leaf for i, item in enumerate(value) for leaf in _numbers(item, f"{place}/{i}")]
    if isinstance(value, Tensor):
        return [(place, value.numpy())]
    return [(place, np.asarray(value, np.float64))] if isinstance(value, int | float) else []


def gradient(run: Run, batch: GlobalBatch, scale: float = 1.0, *, last: bool = True) -> None:
    """One backward pass of the plain mean over this rank's samples."""
    micro = batch.micros[0]
    run.engine.announce(last=last)
    losses = micro.keep_valid(run.task.losses(run.engine.forward(micro.inputs), micro))
    run.engine.backward(losses, torch.full_like(losses, scale / 40).detach())


Dropped = tuple[list[float], list[float], float, list[float]]


def dropped(overrides: list[str], engines: list[str]) -> dict[str, Dropped]:
    """`dropped_under` each of `engines`, one after the other in one process group."""
    world = World.detect()
    with process_group(world, 60):
        return {engine: dropped_under([*overrides, f"engine={engine}"], world) for engine in engines}


def dropped_under(overrides: list[str], world: World) -> Dropped:
    """A run, and the same with gradients dropped between its steps.

    A gradient is dropped complete, in the middle of an accumulation, and because it is not finite.

    Returns:
        The norms of both runs' steps, how far their parameters are apart, and the norms that were not finite.
    """
    plain, tested = built(overrides, world), built(overrides, world)
    batch = next(built(overrides, world).loader)
    not_finite = []
    norms: list[list[float]] = [[], []]
    for step in range(6):
        tested.engine.zero_grad()
        if step % 3 == 0:
            gradient(tested, batch)
            tested.engine.clip(1.0)
        elif step % 3 == 1:
            gradient(tested, batch, last=False)
        else:
            gradient(tested, batch, float("inf"))
            not_finite.append(float(tested.engine.clip(1.0)))
        tested.engine.zero_grad()
        for run, own in zip((plain, tested), norms, strict=True):
            advanced(run, step + 1)
            assert run.last is not None
            own.append(float(run.last.gradient_norm))
    there, here = whole_state(plain.engine)["model"], whole_state(tested.engine)["model"]
    apart = max([float((there[name] - here[name]).abs().max()) for name in there], default=0.0)
    return norms[0], norms[1], apart, not_finite
