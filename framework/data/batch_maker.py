"""Batches from positions: of a dataset, and this process's part of a global batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from framework.config.batch_plan import BatchPlan
from framework.data.batch import Batch, GlobalBatch, Inputs
from framework.data.dataset import Dataset
from framework.data.faults import Fault, Reader
from framework.data.order import Order


class Place(Protocol):
    """Which process this is, of how many (`parallel.World` is one)."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def size(self) -> int:
        """Number of processes."""


class BatchMaker:
    """Makes batches of a dataset from positions; tensors are built once.

    Args:
        dataset: the samples.
        groups: (samples,) int64 group ids.
        known: what is known to be bad; None ends with an error at the first sample that cannot be read.

    Attributes:
        found: faults of samples that were asked for, until somebody takes them.
    """

    def __init__(self, dataset: Dataset, groups: np.ndarray, known: Sequence[Fault] | None = None) -> None:
        self.dataset = dataset
        self.reader = Reader(dataset, known) if known is not None else None
        self.found: list[Fault] = []
        self.groups = torch.from_numpy(groups)
        self.extra = {name: torch.from_numpy(values) for name, values in dataset.extra.items()}
        self.valid: dict[int, Tensor] = {}

    def batch(self, positions: np.ndarray, epoch: int | None) -> Batch:
        """The samples at `positions` (k,), or for none a single filler row, as every rank must run one.

        Where faults are tolerated, the batch is without those that cannot be read.
        """
        content = None
        if self.reader is not None:
            positions, content, faults = self.reader.fetch(positions, epoch)
            self.found += faults
        if not len(positions):
            place, content = self.reader.filler() if self.reader is not None else (0, None)
            filler = np.array([place])
            return self._make(filler, epoch, torch.zeros(1, dtype=torch.bool), content, complete=False)
        valid = self.valid.get(len(positions))
        if valid is None:
            valid = self.valid[len(positions)] = torch.ones(len(positions), dtype=torch.bool)
        return self._make(positions, epoch, valid, content, complete=True)

    def take_found(self) -> list[Fault]:
        """The faults since the last call."""
        found, self.found = self.found, []
        return found

    def means(self, positions: np.ndarray) -> dict[str, float]:
        """The mean over the samples at `positions` of each extra column with one number per sample."""
        return {
            name: float(values[positions].mean(dtype=np.float64))
            for name, values in self.dataset.extra.items()
            if values.ndim == 1
        }

    def _make(
        self,
        positions: np.ndarray,
        epoch: int | None,
        valid: Tensor,
        content: tuple[Inputs, Tensor] | None,
        *,
        complete: bool,
    ) -> Batch:
        inputs, targets = self.dataset.fetch(positions, epoch) if content is None else content
        index = torch.from_numpy(positions)
        extra = {name: column.index_select(0, index) for name, column in self.extra.items()}
        groups = self.groups.index_select(0, index)
        return Batch(inputs, targets, groups, index, valid, extra, complete)


class StepMaker(TorchDataset[GlobalBatch]):
    """One rank's part of the global batch of any (epoch, step), in this or in a background process."""

    def __init__(self, maker: BatchMaker, order: Order, plan: BatchPlan, rank: int) -> None:
        self.maker = maker
        self.order = order
        self.plan = plan
        self.rank = rank
        self._slices: dict[int, list[slice]] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass; the last may be short."""
        return -(-len(self.order) // self.plan.size)

    def __getitem__(self, key: tuple[int, int]) -> GlobalBatch:
        epoch, step = key
        positions = self.positions(epoch, step)
        count = len(positions)
        if count not in self._slices:
            self._slices[count] = self._cut(count)
        micros = [self.maker.batch(positions[piece], epoch) for piece in self._slices[count]]
        means = self.maker.means(positions)
        if means:
            micros = [replace(micro, means=means) for micro in micros]
        return GlobalBatch(micros, count, epoch, step, faults=self.maker.take_found())

    def announce(self, epoch: int, step: int) -> None:
        """Tell the data which files are needed from this step on, so that they can be fetched before."""
        if self.maker.dataset.fetches_ahead:
            self.maker.dataset.upcoming(self.order.ahead(epoch, step * self.plan.size))

    def positions(self, epoch: int, step: int) -> np.ndarray:
        """The samples of a global batch, in order."""
        return self.order.positions(epoch, step * self.plan.size, (step + 1) * self.plan.size)

    def without_bad(self, batch: GlobalBatch, holds: Callable[[np.ndarray], np.ndarray]) -> GlobalBatch:
        """The batch without the samples that `holds` says are bad, whoever found them so."""
        positions = self.positions(batch.epoch, batch.step)
        bad = holds(positions)
        if not bad.any():
            return batch
        kept = positions[~bad]
        means = self.maker.means(kept) if len(kept) else {}
        micros = []
        for micro in batch.micros:
            rows = torch.from_numpy(holds(micro.index.numpy()))
            if micro.complete and bool(rows.any()):
                micro = micro.without(rows)
            micros.append(replace(micro, means=means) if means else micro)
        left_out = np.flatnonzero(bad).tolist()
        return replace(batch, micros=micros, num_samples=len(kept), left_out=left_out)

    def _cut(self, count: int) -> list[slice]:
        """This rank's slice of a global batch of `count` samples for each micro-batch."""
        slices = []
        for micro in range(self.plan.num_micros(count)):
            taken = self.plan.positions(micro, self.rank, count)
            slices.append(slice(int(taken[0]), int(taken[-1]) + 1) if len(taken) else slice(0, 0))
        return slices
