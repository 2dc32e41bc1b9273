"""Batches for evaluation: every sample exactly once over all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from framework.data.batch import Batch
from framework.data.batch_maker import BatchMaker, Place
from framework.data.dataset import Dataset
from framework.data.faults import Fault


class EvaluationLoader:
    """The samples of a split in order; every rank gets the same number of batches, some of fillers only.

    Args:
        dataset: the split.
        groups: (samples,) int64 group ids for the metrics.
        batch_size: samples per rank and batch.
        world: which part is this process's.
        known: what is known to be bad; None ends with an error at the first sample that cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        groups: np.ndarray,
        batch_size: int,
        world: Place,
        known: Sequence[Fault] | None = None,
    ) -> None:
        self.maker = BatchMaker(dataset, groups, known)
        self.num_samples = len(dataset)
        self.batch_size = batch_size
        self.world = world

    def __len__(self) -> int:
        return -(-self.num_samples // (self.batch_size * self.world.size))

    def __iter__(self) -> Iterator[Batch]:
        starts = self.maker.dataset.runs() if self.maker.dataset.fetches_ahead else None
        if starts is not None:
            self.maker.dataset.upcoming(starts)
        for number in range(len(self)):
            start = (number * self.world.size + self.world.rank) * self.batch_size
            stop = min(start + self.batch_size, self.num_samples)
            yield self.maker.batch(np.arange(start, max(start, stop)), None)
