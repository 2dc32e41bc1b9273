import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.data.evaluation import EvaluationLoader
from framework.parallel.world import World
from tests.data_samples import labelled


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_each_sample_once_over_all_ranks_and_as_many_batches_on_each(n: int, size: int, world: int) -> None:
    labels = np.arange(n) % 3
    ranks = [
        list(EvaluationLoader(labelled(labels), labels, size, World(rank, world))) for rank in range(world)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    seen = []
    for step in zip(*ranks, strict=True):
        for batch in step:
            assert 1 <= len(batch) <= size
            assert batch.valid.all() or len(batch) == 1
            seen += batch.index[batch.valid].tolist()
            assert torch.equal(batch.groups, batch.index % 3)
            assert torch.equal(batch.targets, batch.index % 3)
    assert seen == list(range(n))


def test_it_can_be_run_again() -> None:
    loader = EvaluationLoader(labelled([0, 1, 0]), np.zeros(3, np.int64), 2, World())
    assert len(loader) == len(list(loader)) == len(list(loader)) == 2
