"""A million tiny samples through the whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from framework.config.batch_plan import BatchPlan
from framework.data.batch import DataSpec
from framework.data.in_memory import ArrayDataset
from framework.data.loader import TrainLoader
from framework.data.order import BlockOrder, Order, UniformOrder
from framework.data.shards.verify import verify_shards
from framework.parallel.world import World
from tests.unit.data.shards.samples import read, write

N, SIZE = 1_000_003, 4096


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_samples_are_seen_once_each_in_every_epoch_across_kills(tmp_path: Path) -> None:
    inputs = torch.arange(N).view(N, 1)
    dataset = ArrayDataset(inputs, torch.arange(N) % 2, DataSpec((1,), 2, ("even", "odd"), num_tokens=N))
    manifest = write(tmp_path, {"train": dataset}, max_size=20_000_000, workers=2)
    assert len(manifest.splits["train"].shards) > 50
    assert not verify_shards(tmp_path, workers=2).faults
    shards = read(tmp_path)["train"]
    runs = shards.runs()
    assert runs is not None
    orders: list[Order] = [UniformOrder(N, 1), BlockOrder(runs, N, 1, 8)]
    for order in orders:
        seen: list[np.ndarray] = []
        state = {"epoch": 0, "step": 0}
        for world, workers, steps in ((1, 0, 40), (2, 2, 55), (4, 0, 70), (1, 2, 80)):
            plan = BatchPlan.solve(SIZE, None, world)
            ranks = [
                TrainLoader(shards, np.zeros(N, np.int64), order, plan, World(rank, world), workers)
                for rank in range(world)
            ]
            for rank in ranks:
                rank.load_state_dict(state)
            for _ in range(steps):
                for rank in ranks:
                    (micro,) = next(rank).micros
                    assert isinstance(micro.inputs, torch.Tensor)
                    assert torch.equal(micro.targets, micro.inputs[:, 0] % 2)
                    seen.append(micro.inputs[micro.valid, 0].numpy())
            state = ranks[0].state_dict()
            for rank in ranks:
                rank.close()
        assert state == {"epoch": 1, "step": 0}
        assert np.array_equal(np.concatenate(seen), order.epoch(0))
