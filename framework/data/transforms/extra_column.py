"""Numbers per training sample from a file, such as the losses of a reference model."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from framework.data.dataset import Splits
from framework.data.files.array_files import read_array
from framework.data.views import with_extra
from framework.errors import DataError
from framework.registry import register


@register.transform("extra_column")
@dataclass(frozen=True)
class ExtraColumn:
    """Adds a column of numbers to the training split, for the policy or the task.

    Row i belongs to training sample i where the transform stands, so fix `splits.seed` to what it was
    when the file was made. One number per sample reaches the policy, e.g. `baseline_loss`; a row of
    numbers is the task's, as `token_baseline_loss` is of language_modeling, with one per token.

    Args:
        path: FILE.npy, or FILE.npz:KEY, of shape (samples,) or (samples, tokens).
        column: name of the column.
    """

    _: KW_ONLY
    path: str
    column: str

    def __call__(self, splits: Splits) -> Splits:
        """The same splits, `train` with the column."""
        values = read_array(Path(), self.path)
        training = splits["train"]
        if self.column in training.extra:
            raise ValueError(f"the data has a column '{self.column}' already")
        rows = (len(training), *training.spec.input_shape) if training.spec.next_tokens else None
        if values.shape not in ((len(training),), rows):
            wanted = f"({len(training)},)" + (f" or {rows}" if rows else "")
            raise DataError(f"{self.path} has shape {values.shape}; the training split needs {wanted}")
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise DataError(f"{self.path}: not all values are finite numbers")
        return splits | {"train": with_extra(training, self.column, values.astype(np.float32))}
