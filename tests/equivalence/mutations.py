"""Ways to be wrong on several processes, each of which the equivalence matrix must notice."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.training.assemble import Run


def doubled_factor(run: Run) -> None:
    run.engine.gradient_factor *= 2  # type: ignore[attr-defined]


def dropped_factor(run: Run) -> None:
    run.engine.gradient_factor = 1.0  # type: ignore[attr-defined]


def reversed_gather(run: Run) -> None:
    """The ranks' rows from the last to the first."""
    gather, size = run.engine.gather, run.world.size

    def reversed_rows(columns: dict[str, Tensor]) -> dict[str, Tensor]:
        gathered = gather(columns)
        return {name: rows.view(size, -1).flip(0).reshape(-1) for name, rows in gathered.items()}

    run.engine.gather = reversed_rows  # type: ignore[method-assign]


def counted_fillers(run: Run) -> None:
    """A filler row passes for a sample, in training and in evaluation."""
    from framework.data.batch_maker import BatchMaker

    make = BatchMaker._make

    def valid(self: BatchMaker, positions: np.ndarray, epoch: int | None, *_: Any, complete: bool) -> Batch:
        return make(self, positions, epoch, torch.ones(len(positions), dtype=torch.bool), None, complete=True)

    BatchMaker._make = valid  # type: ignore[method-assign]
