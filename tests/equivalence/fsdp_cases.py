"""Runs that the tests of engine fsdp compare, on this process or on the ranks of a group."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.store import CheckpointStore
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.training.assemble import Run, assemble
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import loaded
from tests.whole import whole_state

#: the last of an epoch's 14 batches has 7 samples, all on the first rank; the clip binds in some steps only
COMMON = [
    "train.clip_norm=0.8",
    "train.steps=20",
    "optimizer={name: sgd, lr: 0.1, momentum: 0.9}",
    "evaluate.every_epochs=null",
    "checkpoint.every_epochs=null",
]
VIT = (
    "model={name: vit, patch_size: 4, hidden_size: 16, layers: 2, heads: 2, mlp_ratio: 2.0, dropout: 0.1}",
)


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        overrides: beside COMMON.
        start: checkpoint to go on from.
        stop: number of the last step.
        save: folder for a checkpoint of the last step.
        factor: what the engine's gradient factor is multiplied by.
    """

    overrides: tuple[str, ...] = ()
    start: Path | None = None
    stop: int = 20
    save: Path | None = None
    factor: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """Where a run ended: arrays by name (`model/...`, `ema/...`, `optimizer/...`, `policy/...`)."""

    arrays: dict[str, NDArray[Any]]
    norms: list[float]

    def difference(self, other: Outcome, part: str) -> float:
        names = [name for name in self.arrays if name.startswith(part)]
        assert names == [name for name in other.arrays if name.startswith(part)]
        return max((float(np.abs(self.arrays[n] - 1.0 * other.arrays[n]).max()) for n in names), default=0.0)

    def same(self, other: Outcome) -> bool:
        """Whether everything is, bit for bit."""
        return self.arrays.keys() == other.arrays.keys() and all(
            np.array_equal(values, other.arrays[name]) for name, values in self.arrays.items()
        )


def outcomes(cases: list[Case], engine: str) -> list[Outcome]:
    """Run all cases, one after the other; the same on every rank, though only rank 0 has all arrays."""
    world = World.detect()
    with process_group(world, 60):
        return [outcome(case, engine, world) for case in cases]


def outcome(case: Case, engine: str, world: World) -> Outcome:
    run = build([*case.overrides, f"engine={engine}"], world, case.save)
    if case.factor != 1.0:
        run.engine.gradient_factor *= case.factor  # type: ignore[attr-defined]
    if case.start is not None:
        run.load(open_checkpoint(case.start))
    norms = []
    with StopSignal(world) as signals:
        while run.progress.step < case.stop:
            advance(run, signals)
            assert run.last is not None
            norms.append(float(run.last.gradient_norm))
    run.loader.close()
    if case.save is not None:
        run.save()
        run.collect(wait=True)
    return taken(run, norms)


def build(overrides: list[str], world: World, store: Path | None = None) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        config = loaded(Path(folder), [*COMMON, *overrides]).config
    run = assemble(config, world=world, store=CheckpointStore(store) if store is not None else None)
    run.meta = {"config": {}, "data": run.data.fingerprint()}
    return run


def taken(run: Run, norms: list[float]) -> Outcome:
    arrays: dict[str, NDArray[Any]] = {}
    with run.engine.true_point():
        _flatten({**whole_state(run.engine), "policy": run.policy.state_dict()}, "", arrays)
    return Outcome(arrays, norms)


def _flatten(tree: Any, name: str, arrays: dict[str, NDArray[Any]]) -> None:
    if isinstance(tree, torch.Tensor):
        arrays[name] = tree.detach().cpu().numpy().copy()
    elif isinstance(tree, dict):
        for key, value in tree.items():
            _flatten(value, f"{name}/{key}" if name else key, arrays)
