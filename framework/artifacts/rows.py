"""Numbers of a model for every sample of a split."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.files import replace_file, writing

if TYPE_CHECKING:
    from framework.training.assemble import Run


def rows_of(run: Run, split: str, measure: Callable[[Tensor, Batch], Tensor]) -> np.ndarray:
    """`measure` of the model's outputs for each sample of `split`, in order, (samples, ...) float64.

    The model is in evaluation mode, without augmentation, with the weights that are evaluated. Every rank
    calls it and gets all rows. Batches are the same stretches of the split on any number of ranks, so on
    the CPU the numbers are the same bit for bit.

    Args:
        run: whose model and data.
        split: name of the split.
        measure: outputs and batch to numbers (micro, ...).
    """
    size = run.config.evaluate.batch_size
    loader = run.data.evaluation_loader(split, size, run.world)
    rows: np.ndarray | None = None
    engine = run.engine
    with engine.evaluation_weights(), engine.preserved_state(), torch.no_grad():
        for batch in loader:
            moved = batch.to(engine.device)
            values = measure(engine.forward(moved.inputs), moved).double()
            flat = values.reshape(len(moved), -1)
            # Every rank brings equally many rows; those without a sample have no position.
            index = flat.new_full((size,), -1.0)
            index[: len(moved)] = torch.where(moved.valid, moved.index.double(), -1.0)
            padded = flat.new_zeros((size, flat.shape[1]))
            padded[: len(moved)] = flat
            columns = {str(number): column for number, column in enumerate(padded.unbind(1))}
            gathered = engine.gather({"index": index, **columns})
            positions = gathered.pop("index").long().cpu().numpy()
            found = torch.stack(list(gathered.values()), dim=1).cpu().numpy()
            if rows is None:
                rows = np.empty((loader.num_samples, *values.shape[1:]))
            there = positions >= 0
            rows[positions[there]] = found[there].reshape(-1, *rows.shape[1:])
    assert rows is not None, "no split is empty"
    return rows


def write_array(path: Path, values: np.ndarray) -> None:
    """Write a .npy file.

    Raises:
        UserError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [buffer.getvalue()])
