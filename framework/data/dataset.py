"""What every data source gives: samples by position, and metadata columns that groups are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from framework.data.batch import DataSpec, Inputs


@dataclass(frozen=True)
class Column:
    """One categorical fact about every sample: ids into `names`; -1 is a value that has no name.

    Attributes:
        values: (samples,) int64.
        names: what each id is called.
    """

    values: np.ndarray
    names: tuple[str, ...]

    def ids_in(self, names: Sequence[str]) -> np.ndarray:
        """The values as ids into other names, (samples,) int64; -1 where those lack the name."""
        place = {name: number for number, name in enumerate(names)}
        # the last entry is what an id of -1 finds
        ids = np.array([*(place.get(name, -1) for name in self.names), -1], dtype=np.int64)
        found: np.ndarray = ids[self.values]
        return found


def joint_names(columns: Iterable[Column]) -> tuple[str, ...]:
    """The names of the first column, then those that only later ones have."""
    return tuple(dict.fromkeys(name for column in columns for name in column.names))


class Dataset(ABC):
    """The samples of one split.

    Attributes:
        spec: shapes of inputs and targets.
        columns: metadata by name; a classification source always has `label`.
        extra: per-sample numbers by name, (samples,) float32, for the policy, e.g. `sample_weight`;
            larger ones (samples, ...) are for the task.
    """

    spec: DataSpec
    columns: Mapping[str, Column]
    extra: Mapping[str, np.ndarray]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Inputs and targets of the samples at `positions` (k,), in that order.

        Args:
            positions: (k,) int64.
            epoch: number of the training pass, which seeds augmentation; None means no augmentation.
        """

    @abstractmethod
    def select(self, positions: np.ndarray) -> Dataset:
        """The split that holds only the samples at `positions`, in that order."""

    def readable(self, positions: np.ndarray) -> list[dict[str, str]] | None:
        """The samples at `positions` (k,) in words, a text per field; None if only numbers are known."""
        return None

    @property
    def fetches_ahead(self) -> bool:
        """Whether it is of use to call `upcoming`."""
        return False

    def upcoming(self, positions: np.ndarray) -> None:
        """The files of the samples at `positions` (k,) are read next, in this order."""
        return

    def identity(self) -> bytes | None:
        """What changes whenever the inputs or targets do; None where one must read them to know."""
        return None

    def runs(self) -> np.ndarray | None:
        """Positions (runs,) int64 at which a run of samples that lie in one file starts, from 0 on.

        None where no sample is cheaper to read after its neighbour.
        """
        return None


#: split name ("train", "validation", "test") -> its samples; before splitting, a source may give only "train"
Splits = dict[str, Dataset]
