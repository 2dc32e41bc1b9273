"""Legs of a run that tests of portable checkpoints train under one engine and go on with under another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.store import CheckpointStore
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.equivalence.zero_cases import advanced, built, saved

#: checkpoint to start from, last step, engine, folder for the checkpoint of that step
Leg = tuple[Path | None, int, str, Path]


def legs(overrides: list[str], todo: Sequence[Leg]) -> None:
    """Train every leg, one after the other in one process group; all ranks call it."""
    world = World.detect()
    with process_group(world, 100):
        for start, stop, engine, folder in todo:
            walk(overrides, start, stop, engine, folder, world)


def walk(
    overrides: list[str], start: Path | None, stop: int, engine: str, folder: Path, world: World
) -> Path:
    run = built([*overrides, f"engine={engine}"], world, CheckpointStore(folder))
    if start is not None:
        run.load(open_checkpoint(start))
    advanced(run, stop)
    run.loader.close()
    return saved(run)


def saved_without_gathering(overrides: list[str], engines: list[str], folder: Path) -> dict[str, int]:
    """Bytes of tensors that this rank wrote under each engine, no collective of tensors being allowed."""
    world = World.detect()
    sizes = {}
    with process_group(world, 100):
        for engine in engines:
            run = built([*overrides, f"engine={engine}"], world, CheckpointStore(folder / engine))
            advanced(run, 2)
            with no_gathering():
                path = saved(run)
            distributed.barrier()
            own = f"engine-{world.rank:05d}-of-{world.size:05d}.safetensors"
            content = (path / own).read_bytes()
            sizes[engine] = len(content) - 8 - int.from_bytes(content[:8], "little")
    return sizes


@contextmanager
def no_gathering() -> Any:
    """Inside, every collective that could bring the parts of a tensor together is an error."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a tensor is gathered for a checkpoint")

    with pytest.MonkeyPatch.context() as patch:
        from torch.distributed.tensor import DTensor

        patch.setattr(DTensor, "full_tensor", refused)
        patch.setattr(DTensor, "redistribute", refused)
        for name in ("all_gather", "all_gather_into_tensor", "gather", "reduce", "reduce_scatter_tensor"):
            patch.setattr(distributed, name, refused)
        try:
            from deepspeed.runtime.zero import partition_parameters
        except ImportError:
            pass
        else:
            patch.setattr(partition_parameters.GatheredParameters, "__enter__", refused)
        yield


def tensors(path: Path) -> int:
    """Bytes of all tensors of the part `engine`."""

    def size(tree: Any) -> int:
        if isinstance(tree, dict):
            return sum(map(size, tree.values()))
        return tree.nbytes if isinstance(tree, torch.Tensor) else 0

    return size(open_checkpoint(path).parts["engine"])
