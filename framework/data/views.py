"""Changed versions of a split: other inputs, targets or columns over the same samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec, Inputs
from framework.data.dataset import Column, Dataset
from framework.data.in_memory import ArrayDataset, select_metadata


class InputMap(Protocol):
    """Changes inputs (k, ...) of the samples called `ids` (k,); must be picklable, for background workers.

    The ids are positions in the dataset the map was made for, so a map may look per-sample facts up and
    may seed random numbers by (epoch, id). The epoch is None where nothing random is wanted.
    """

    def __call__(self, inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
        """The changed inputs (k, ...)."""


class View(Dataset):
    """Another dataset seen through a map of its inputs or with other targets.

    Args:
        base: the samples.
        spec: shapes after the change.
        columns: metadata after the change.
        input_map: applied to every batch that is read; None leaves inputs alone.
        targets: (samples, ...) in place of the base's; None keeps those.
        ids: (samples,) int64 what the map knows the samples by; None for their positions.
        extra: numbers of the samples after the change; None keeps the base's.
    """

    def __init__(
        self,
        base: Dataset,
        spec: DataSpec,
        columns: Mapping[str, Column],
        input_map: InputMap | None = None,
        targets: Tensor | None = None,
        ids: np.ndarray | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.base = base
        self.spec = spec
        self.columns = columns
        self.extra = base.extra if extra is None else extra
        self.input_map = input_map
        self.targets = targets
        self.ids = np.arange(len(base)) if ids is None else ids

    def __len__(self) -> int:
        return len(self.base)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """The base's samples at `positions` (k,), changed."""
        inputs, targets = self.base.fetch(positions, epoch)
        if self.input_map is not None:
            inputs = self.input_map(single_input(inputs), self.ids[positions], epoch)
        if self.targets is not None:
            targets = self.targets.index_select(0, torch.from_numpy(positions))
        return inputs, targets

    def select(self, positions: np.ndarray) -> View:
        """The samples at `positions`; they keep their ids, and so their random numbers."""
        columns, extra = select_metadata(self, positions)
        targets = None if self.targets is None else self.targets[torch.from_numpy(positions)]
        base = self.base.select(positions)
        return View(base, self.spec, columns, self.input_map, targets, self.ids[positions], extra)

    def readable(self, positions: np.ndarray) -> list[dict[str, str]] | None:
        """What the base says of the samples, unless their inputs are changed here."""
        return self.base.readable(positions) if self.input_map is None else None

    @property
    def fetches_ahead(self) -> bool:
        """Whether the base does."""
        return self.base.fetches_ahead

    def upcoming(self, positions: np.ndarray) -> None:
        """The base's."""
        self.base.upcoming(positions)

    def identity(self) -> bytes | None:
        """The base's, with what the map makes of some numbers and with the targets of this view."""
        base = self.base.identity()
        if base is None:
            return None
        digest = hashlib.sha256(base)
        count = min(len(self), 64)
        if self.input_map is not None:
            ids = self.ids[np.linspace(0, len(self) - 1, count).astype(np.int64)]
            numbers = torch.rand(
                (count, *self.base.spec.input_shape), generator=torch.Generator().manual_seed(0)
            )
            digest.update(self.input_map(numbers, ids, None).contiguous().numpy().tobytes())
        if self.targets is not None:
            digest.update(self.targets.contiguous().numpy().tobytes())
        return digest.digest()

    def runs(self) -> np.ndarray | None:
        """Those of the base."""
        return self.base.runs()


def single_input(inputs: Inputs) -> Tensor:
    """The inputs as one tensor.

    Raises:
        ValueError: the samples are dictionaries of several tensors.
    """
    if not isinstance(inputs, Tensor):
        raise ValueError(f"needs samples of one tensor, not of several ({', '.join(inputs)})")
    return inputs


def with_inputs(dataset: Dataset, input_map: InputMap, input_shape: tuple[int, ...]) -> Dataset:
    """The dataset with a fixed change of its inputs: done at once in memory, else as samples are read."""
    spec = replace(dataset.spec, input_shape=input_shape)
    if isinstance(dataset, ArrayDataset):
        inputs = input_map(single_input(dataset.inputs), np.arange(len(dataset)), None)
        return ArrayDataset(inputs, dataset.targets, spec, dataset.columns, dataset.extra)
    return View(dataset, spec, dataset.columns, input_map)


def with_augmentation(dataset: Dataset, input_map: InputMap) -> Dataset:
    """The dataset with a random change of its inputs, drawn anew for every epoch."""
    return View(dataset, dataset.spec, dataset.columns, input_map)


def with_labels(
    dataset: Dataset, labels: np.ndarray, names: tuple[str, ...], columns: Mapping[str, Column]
) -> Dataset:
    """The dataset with class ids `labels` (samples,) into `names`, and further columns."""
    spec = replace(dataset.spec, num_classes=len(names), class_names=names)
    targets = torch.from_numpy(labels)
    columns = {**dataset.columns, **columns, "label": Column(labels, names)}
    if isinstance(dataset, ArrayDataset):
        return ArrayDataset(dataset.inputs, targets, spec, columns, dataset.extra, dataset.decoder)
    return View(dataset, spec, columns, targets=targets)


def with_columns(dataset: Dataset, columns: Mapping[str, Column]) -> Dataset:
    """The dataset with further columns."""
    columns = {**dataset.columns, **columns}
    if isinstance(dataset, ArrayDataset):
        return ArrayDataset(
            dataset.inputs, dataset.targets, dataset.spec, columns, dataset.extra, dataset.decoder
        )
    return View(dataset, dataset.spec, columns)


def with_extra(dataset: Dataset, name: str, values: np.ndarray) -> Dataset:
    """The dataset with a further extra column (samples, ...), float32."""
    extra = {**dataset.extra, name: values}
    if isinstance(dataset, ArrayDataset):
        return ArrayDataset(
            dataset.inputs, dataset.targets, dataset.spec, dataset.columns, extra, dataset.decoder
        )
    return View(dataset, dataset.spec, dataset.columns, extra=extra)
