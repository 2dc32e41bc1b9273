"""Ranks that hold the same write equal parts of it; what they do not hold alike is rank 0's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from framework.checkpoint.checkpoint import open_checkpoint, write_share
from framework.checkpoint.manifest import Manifest
from framework.checkpoint.snapshot import snapshot
from framework.engines.shares import share_out
from framework.engines.single import SingleEngine
from framework.parallel.world import World
from tests.equivalence.zero_models import differences, settings, trained


@pytest.mark.parametrize("size", [2, 3, 40])
def test_shares_become_the_whole(size: int, tmp_path: Path) -> None:
    engine = SingleEngine(settings(World()))
    whole = trained(engine)
    names = dict(engine.model.named_parameters(remove_duplicate=False))
    files, counts = {}, []
    for rank in range(size):
        if rank > 0:
            engine.model.norm.running_mean += 1  # type: ignore[operator, union-attr]
        with engine.true_point():
            state = share_out(engine.state_dict(), names, World(rank, size))
            parts = snapshot({"engine": state}, copy=False, pieces_only=rank > 0)
            counts.append(sum(tensor.numel() for tensor in parts["engine"].tensors.values()))
            files |= write_share(tmp_path, parts, {}, World(rank, size))
    Manifest(4, files).write(tmp_path)
    read: Any = open_checkpoint(tmp_path).parts["engine"]
    assert read["model"]["one.weight"] is read["model"]["two.weight"]
    assert max(differences(read, whole).values()) == 0
    # Rank 0 has buffers and counters beside its share; the shares differ by an element per tensor.
    assert max(counts[1:]) - min(counts[1:]) <= len(list(tensors(whole)))
    assert counts[0] - max(counts[1:]) <= sum(t.numel() for t in engine.model.buffers()) + len(names) + 8


def tensors(tree: Any) -> Any:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from tensors(value)
    elif isinstance(tree, torch.Tensor):
        yield tree
