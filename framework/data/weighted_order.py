"""An order in which groups come as often as their weights say."""

from __future__ import annotations

import numpy as np

from framework.data.order import Order
from framework.data.randomness import generator


class WeightedOrder(Order):
    """Every draw is of a random group, with chances given; a group gives its samples in random order.

    An epoch has as many draws as there are samples. Inside it no sample of a group comes again before all
    of the group have come; a group that is drawn more often than it has samples then starts anew, in
    another order. A group of chance 0 never comes.

    Args:
        groups: (samples,) int64 group ids.
        shares: (groups,) chance that a draw is of the group; sums to 1, and 0 where there are no samples.
        seed: of all epochs.
    """

    def __init__(self, groups: np.ndarray, shares: np.ndarray, seed: int) -> None:
        self.seed = seed
        self.shares = shares
        self.groups = groups
        self.members = np.argsort(groups, kind="stable")
        self.counts = np.bincount(groups, minlength=len(shares))
        self.starts = np.cumsum(self.counts) - self.counts
        assert not shares[self.counts == 0].any(), "a group without samples cannot be drawn"

    def __len__(self) -> int:
        return len(self.members)

    def epoch(self, epoch: int) -> np.ndarray:
        """Positions in random order; some may come several times and some never."""
        ends = np.cumsum(self.shares)
        # rounding must not leave a sliver of chance behind the last group
        ends[np.flatnonzero(self.shares)[-1] :] = 1.0
        drawn = np.searchsorted(
            ends, generator(self.seed, "order", epoch, "groups").random(len(self)), side="right"
        )
        positions = np.empty(len(self), dtype=np.int64)
        for group, count in enumerate(np.bincount(drawn, minlength=len(self.shares)).tolist()):
            if count:
                positions[drawn == group] = self._inside(group, count, epoch)
        return positions

    def _inside(self, group: int, count: int, epoch: int) -> np.ndarray:
        """The first `count` draws of a group, (count,)."""
        random = generator(self.seed, "order", epoch, "group", group)
        size = int(self.counts[group])
        members = self.members[self.starts[group] : self.starts[group] + size]
        rounds = [random.permutation(members) for _ in range(-(-count // size))]
        return np.concatenate(rounds)[:count]

    def identity(self) -> bytes:
        """The chances of the groups."""
        return self.shares.tobytes()

    def probabilities(self) -> np.ndarray:
        """The share of its group / samples of the group."""
        chances: np.ndarray = (self.shares / np.maximum(self.counts, 1))[self.groups]
        return chances
