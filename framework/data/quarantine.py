"""The samples that are left out because they cannot be read: the same on every rank, and after a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from framework.data.faults import Fault, Positions
from framework.errors import DataError

#: the faults that any rank found, on every rank in one order; each rank calls it together with the others
Exchange = Callable[[list[Fault]], list[Fault]]


class Quarantine:
    """What is known to be bad in each split.

    A sample keeps its place in the order of every epoch; from the batch on in which it was first found
    bad, it counts nowhere. Which samples those are is agreed on between the ranks before a batch is used.

    Args:
        max_fraction: largest share of a split that may be left out.
        sizes: samples of each split.

    Attributes:
        exchange: collects what the ranks found.
    """

    def __init__(self, max_fraction: float, sizes: dict[str, int]) -> None:
        self.max_fraction = max_fraction
        self.sizes = sizes
        self.exchange: Exchange = list
        self.faults: dict[str, list[Fault]] = {split: [] for split in sizes}
        self._bad = {split: Positions() for split in sizes}
        self._news: list[tuple[str, Fault]] = []

    def agree(self, split: str, found: Sequence[Fault]) -> None:
        """Take over what all ranks found in `split`; every rank calls it.

        Raises:
            DataError: more is bad than may be; the same on every rank.
        """
        for fault in self.exchange([fault for fault in found if self._is_new(split, fault)]):
            if self._is_new(split, fault):
                self._add(split, fault)
                self._news.append((split, fault))
        bad, size = len(self._bad[split]), self.sizes[split]
        # With nothing left, training would skip every step in silence.
        if bad > self.max_fraction * size or 0 < size == bad:
            last = self.faults[split][-1]
            allowed = f"data.max_bad_fraction={self.max_fraction:g} allows"
            raise DataError(
                f"{bad:,} of {size:,} samples of split '{split}' cannot be read,"
                f" {'whatever' if bad == size else 'more than'} {allowed}; the last is {last.name}:"
                f" {last.reason}"
            )

    def count(self, split: str) -> int:
        """Samples of `split` that are known to be bad."""
        return len(self._bad[split])

    def holds(self, split: str, positions: np.ndarray) -> np.ndarray:
        """Which of the samples at `positions` (k,) are known to be bad, (k,) bool."""
        return self._bad[split].hold(positions)

    def news(self) -> list[tuple[str, Fault]]:
        """Splits and faults since the last call."""
        news, self._news = self._news, []
        return news

    def state_dict(self) -> dict[str, Any]:
        """The faults of every split."""
        return {split: [fault.content() for fault in faults] for split, faults in self.faults.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Know what `state` knew, and nothing else."""
        self._news = []
        for split in self.sizes:
            self.faults[split], self._bad[split] = [], Positions()
            for content in state.get(split, []):
                self._add(split, Fault.read(content))

    def _is_new(self, split: str, fault: Fault) -> bool:
        return len(self._bad[split] | fault.positions) > len(self._bad[split])

    def _add(self, split: str, fault: Fault) -> None:
        self.faults[split].append(fault)
        self._bad[split] = self._bad[split] | fault.positions
