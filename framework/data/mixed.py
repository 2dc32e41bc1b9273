"""The samples of several datasets as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import Inputs
from framework.data.dataset import Column, Dataset, joint_names
from framework.data.faults import BadSampleError
from framework.data.unfitted import Unfitted
from framework.errors import DataError


class Mixed(Unfitted):
    """Datasets one after the other, or any choice of their samples.

    Args:
        parts: the datasets by name; their specs agree.
        part: (samples,) int64 which of them each sample is of; None takes all samples of all.
        place: (samples,) int64 its position there.
        column: of the names of the parts.

    Raises:
        DataError: a part has extra numbers that another one lacks.
    """

    def __init__(
        self,
        parts: Mapping[str, Dataset],
        column: str,
        part: np.ndarray | None = None,
        place: np.ndarray | None = None,
    ) -> None:
        self.parts = dict(parts)
        self.column = column
        sizes = [len(dataset) for dataset in parts.values()]
        self.part = np.repeat(np.arange(len(sizes)), sizes) if part is None else part
        self.place = np.concatenate([np.arange(size) for size in sizes]) if place is None else place
        datasets = list(parts.values())
        self.spec = datasets[0].spec
        names = dict.fromkeys(name for dataset in datasets for name in dataset.columns)
        columns = {name: self._column([d.columns.get(name) for d in datasets]) for name in names}
        self.columns = {**columns, column: Column(self.part, tuple(parts))}
        self.extra = self._extra()

    def __len__(self) -> int:
        return len(self.part)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `positions` (k,), read from each part at once."""
        datasets = list(self.parts.values())
        parts, order, inputs, targets = self.part[positions], [], [], []
        for number in np.unique(parts).tolist():
            chosen = np.flatnonzero(parts == number)
            try:
                read, wanted = datasets[number].fetch(self.place[positions[chosen]], epoch)
            except BadSampleError as error:
                lost = np.flatnonzero((self.part == number) & np.isin(self.place, error.positions))
                raise BadSampleError(error.name, error.reason, lost) from error
            order.append(chosen)
            inputs.append(read)
            targets.append(wanted)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
        return _joined(inputs, back), torch.cat(targets).index_select(0, back)

    def select(self, positions: np.ndarray) -> Mixed:
        """The samples at `positions`; each part keeps only its own of these."""
        parts, place = self.part[positions], np.empty(len(positions), dtype=np.int64)
        kept = {}
        for number, (name, dataset) in enumerate(self.parts.items()):
            chosen = np.flatnonzero(parts == number)
            kept[name] = dataset.select(self.place[positions[chosen]])
            place[chosen] = np.arange(len(chosen))
        return Mixed(kept, self.column, parts, place)

    def fitted(self, training: Dataset) -> Mixed:
        """Every part encoded by its own training samples; parts without samples stay as they are.

        Raises:
            DataError: a part has samples here and none in training.
        """
        assert isinstance(training, Mixed)
        if not any(isinstance(dataset, Unfitted) for dataset in self.parts.values()):
            return self
        fitted = {}
        for name, dataset in self.parts.items():
            if isinstance(dataset, Unfitted):
                if not len(dataset) or not len(training.parts[name]):
                    raise DataError(
                        f"source '{name}' of the mixture has no samples in one of the splits;"
                        f" set data.splits.stratify={self.column}"
                    )
                dataset = dataset.fitted(training.parts[name])
            fitted[name] = dataset
        return Mixed(fitted, self.column)

    def readable(self, positions: np.ndarray) -> list[dict[str, str]] | None:
        """What the parts say of the samples; None if one of them says nothing."""
        datasets = list(self.parts.values())
        texts = [
            datasets[part].readable(np.array([place]))
            for part, place in zip(self.part[positions], self.place[positions], strict=True)
        ]
        found = [text[0] for text in texts if text is not None]
        return found if len(found) == len(texts) else None

    @property
    def fetches_ahead(self) -> bool:
        """Whether a part does."""
        return any(dataset.fetches_ahead for dataset in self.parts.values())

    def upcoming(self, positions: np.ndarray) -> None:
        """Each part is told of its own."""
        for number, dataset in enumerate(self.parts.values()):
            dataset.upcoming(self.place[positions[self.part[positions] == number]])

    def runs(self) -> np.ndarray | None:
        """Those of the parts, where all of them lie in files and none is permuted."""
        datasets = [dataset for dataset in self.parts.values() if len(dataset)]
        starts = [dataset.runs() for dataset in datasets]
        sizes = [len(dataset) for dataset in datasets]
        found = [start for start in starts if start is not None]
        in_place = np.array_equal(self.place, np.concatenate([np.arange(size) for size in sizes]))
        if len(found) < len(datasets) or not in_place or (np.diff(self.part) < 0).any():
            return None
        offsets = np.cumsum([0, *sizes[:-1]])
        return np.concatenate([start + offset for start, offset in zip(found, offsets, strict=True)])

    def _column(self, columns: Sequence[Column | None]) -> Column:
        """One column over all names; a sample of a part that lacks it has no value."""
        names = joint_names(column for column in columns if column is not None)
        values = np.full(len(self.part), -1, dtype=np.int64)
        for number, column in enumerate(columns):
            if column is not None:
                chosen = np.flatnonzero(self.part == number)
                values[chosen] = column.ids_in(names)[self.place[chosen]]
        return Column(values, names)

    def _extra(self) -> dict[str, np.ndarray]:
        first = next(iter(self.parts))
        names = set(self.parts[first].extra)
        for part, dataset in self.parts.items():
            other = sorted(names ^ set(dataset.extra))
            if other:
                raise DataError(
                    f"sources '{first}' and '{part}': only one has the numbers {', '.join(other)}"
                )
        whole = {name: [d.extra[name] for d in self.parts.values()] for name in sorted(names)}
        starts = np.cumsum([0, *(len(dataset) for dataset in self.parts.values())])
        return {name: np.concatenate(v)[starts[self.part] + self.place] for name, v in whole.items()}


def _joined(inputs: Sequence[Inputs], back: Tensor) -> Inputs:
    """The inputs of the parts one after the other, picked in the order `back` (k,)."""
    tensors = [part for part in inputs if isinstance(part, Tensor)]
    if len(tensors) == len(inputs):
        return torch.cat(tensors).index_select(0, back)
    named = [part for part in inputs if not isinstance(part, Tensor)]
    return {name: torch.cat([part[name] for part in named]).index_select(0, back) for name in named[0]}
