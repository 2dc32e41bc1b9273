"""A split that lies in memory as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec, Inputs
from framework.data.dataset import Column, Dataset

#: the inputs of one sample as a person reads them: a text per field
Decoder = Callable[[Tensor], dict[str, str]]


class ArrayDataset(Dataset):
    """Samples on the first dimension of tensors; a batch is one `index_select` of each.

    Args:
        inputs: (samples, ...) float32, or a dictionary of such.
        targets: (samples,) int64 class ids, or (samples,) / (samples, width) float32.
        spec: shapes of one sample.
        columns: metadata; `label` is added for class ids when it is not given.
        extra: per-sample numbers by name, (samples,) float32.
        decoder: undoes the encoding of one sample's inputs, if somebody knows how.
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: Tensor,
        spec: DataSpec,
        columns: Mapping[str, Column] | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.spec = spec
        self.columns = dict(columns or {})
        self.extra = dict(extra or {})
        self.decoder = decoder
        if spec.num_classes is not None and "label" not in self.columns:
            self.columns["label"] = Column(targets.numpy(), spec.class_names)

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `positions` (k,); the epoch makes no difference."""
        index = torch.from_numpy(positions)
        return _pick(self.inputs, index), self.targets.index_select(0, index)

    def select(self, positions: np.ndarray) -> ArrayDataset:
        """A copy of the samples at `positions`."""
        inputs, targets = self.fetch(positions, None)
        columns, extra = select_metadata(self, positions)
        return ArrayDataset(inputs, targets, self.spec, columns, extra, self.decoder)

    def readable(self, positions: np.ndarray) -> list[dict[str, str]] | None:
        """What the decoder makes of the samples at `positions` (k,)."""
        if self.decoder is None or not isinstance(self.inputs, Tensor):
            return None
        return [self.decoder(self.inputs[position]) for position in positions.tolist()]


def _pick(inputs: Inputs, index: Tensor) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs.index_select(0, index)
    return {name: tensor.index_select(0, index) for name, tensor in inputs.items()}


def select_metadata(
    dataset: Dataset, positions: np.ndarray
) -> tuple[dict[str, Column], dict[str, np.ndarray]]:
    """The columns and extra numbers of the samples at `positions`."""
    columns = {name: Column(c.values[positions], c.names) for name, c in dataset.columns.items()}
    return columns, {name: values[positions] for name, values in dataset.extra.items()}
