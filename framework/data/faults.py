"""Samples that cannot be read: how a source says so, and how the rest of a batch is read all the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from framework.data.batch import Inputs
from framework.data.dataset import Dataset
from framework.errors import DataError


class BadSampleError(DataError):
    """Samples that cannot be read, while others of the same split can.

    Attributes:
        name: what is broken: a file, or a sample in it.
        reason: what is wrong with it.
        positions: (k,) int64 all samples lost with it, as the dataset that was asked counts them.
    """

    def __init__(self, name: str, reason: str, positions: np.ndarray) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.positions = positions

    def __reduce__(self) -> tuple[Any, ...]:
        # an exception is pickled by its message, which is not what the constructor takes
        return BadSampleError, (self.name, self.reason, self.positions)


class Positions:
    """A set of positions, as sorted ranges that do not touch."""

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        joined: list[list[int]] = []
        for start, stop in sorted((int(start), int(stop)) for start, stop in ranges):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([start, stop])
        self.ranges = joined
        self._starts = np.array([start for start, _ in joined], np.int64)
        self._stops = np.array([stop for _, stop in joined], np.int64)

    @staticmethod
    def of(positions: np.ndarray) -> Positions:
        """The set of `positions` (k,)."""
        ordered = np.unique(positions)
        runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
        return Positions([(run[0], run[-1] + 1) for run in runs if len(run)])

    def __len__(self) -> int:
        return int((self._stops - self._starts).sum())

    def __or__(self, other: Positions) -> Positions:
        return Positions([*self.ranges, *other.ranges])

    def hold(self, positions: np.ndarray) -> np.ndarray:
        """Which of `positions` (k,) are in the set, (k,) bool."""
        if not self.ranges:
            return np.zeros(len(positions), bool)
        place = np.searchsorted(self._starts, positions, side="right") - 1
        inside: np.ndarray = (place >= 0) & (positions < self._stops[place])
        return inside


@dataclass(frozen=True)
class Fault:
    """Something broken, and the samples of a split that are lost with it."""

    name: str
    reason: str
    positions: Positions

    def content(self) -> dict[str, Any]:
        """As plain data."""
        return {"name": self.name, "reason": self.reason, "ranges": self.positions.ranges}

    @staticmethod
    def read(content: dict[str, Any]) -> Fault:
        """What `content` made."""
        return Fault(content["name"], content["reason"], Positions(content["ranges"]))


class Reader:
    """Reads the samples that can be read, and remembers which cannot: those are not tried again.

    Args:
        dataset: the samples.
        known: faults that need not be found out.
    """

    def __init__(self, dataset: Dataset, known: Sequence[Fault] = ()) -> None:
        self.dataset = dataset
        self.faults = list(known)
        self._bad = Positions(span for fault in known for span in fault.positions.ranges)
        self._filler = 0

    def fetch(
        self, positions: np.ndarray, epoch: int | None
    ) -> tuple[np.ndarray, tuple[Inputs, Tensor] | None, list[Fault]]:
        """Reads the samples at `positions` (k,).

        Returns:
            those of `positions` that could be read; their inputs and targets, None if there are none;
            the faults of the others.

        Raises:
            DataError: something is wrong that is not a matter of some samples.
        """
        kept = positions[~self._bad.hold(positions)]
        content = None
        while len(kept) and content is None:
            try:
                content = self.dataset.fetch(kept, epoch)
            except BadSampleError as error:
                fault = Fault(error.name, error.reason, Positions.of(error.positions))
                left = kept[~fault.positions.hold(kept)]
                if len(left) == len(kept):
                    raise  # it is not about a sample that was asked for
                self.faults.append(fault)
                self._bad = self._bad | fault.positions
                kept = left
        faults = []
        if len(kept) < len(positions):
            faults = [fault for fault in self.faults if fault.positions.hold(positions).any()]
        return kept, content, faults

    def filler(self) -> tuple[int, tuple[Inputs, Tensor]]:
        """Some sample that can be read, and its position.

        Raises:
            DataError: there is none.
        """
        for position in range(self._filler, len(self.dataset)):
            kept, content, _ = self.fetch(np.array([position]), None)
            if len(kept) and content is not None:
                self._filler = position
                return position, content
        raise DataError("not one sample can be read")
