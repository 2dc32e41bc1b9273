"""No process can run out of data before the others: all take the same steps and micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.config.batch_plan import BatchPlan
from framework.data.build import build_data
from framework.parallel.world import World
from tests.tiny import loaded


@pytest.mark.parametrize(
    ("size", "micro", "world_size"), [(32, 16, 2), (40, 10, 2), (40, 10, 4), (400, 50, 4)]
)
def test_every_rank_takes_the_same_steps(size: int, micro: int, world_size: int, tmp_path: Path) -> None:
    config = loaded(tmp_path).config
    data = build_data(config.data, config.seed)
    plan = BatchPlan.solve(size, micro, world_size)
    loaders = [data.train_loader(plan, World(rank, world_size, rank)) for rank in range(world_size)]
    for _ in range(loaders[0].steps_per_epoch + 1):
        batches = [next(loader) for loader in loaders]
        assert len({(len(batch.micros), batch.num_samples, batch.epoch) for batch in batches}) == 1
        valid = sum(int(micro.valid.sum()) for batch in batches for micro in batch.micros)
        assert valid == batches[0].num_samples
