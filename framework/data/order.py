"""Which samples an epoch visits, in which order: a pure function of (seed, epoch)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from framework.config.schema import SamplingConfig
from framework.data.randomness import generator


class Order(ABC):
    """The sample positions of every epoch; knows nothing of ranks, workers or batches."""

    @abstractmethod
    def __len__(self) -> int:
        """Samples drawn in one epoch."""

    @abstractmethod
    def epoch(self, epoch: int) -> np.ndarray:
        """Positions in the training split (draws,), int64."""

    @abstractmethod
    def probabilities(self) -> np.ndarray:
        """Chance (samples,) that a draw is this sample; sums to 1."""


class UniformOrder(Order):
    """Each sample once per epoch, permuted."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed

    def __len__(self) -> int:
        return self.num_samples

    def epoch(self, epoch: int) -> np.ndarray:
        """A permutation of all positions."""
        return generator(self.seed, "order", epoch).permutation(self.num_samples)

    def probabilities(self) -> np.ndarray:
        """1 / samples each."""
        return np.full(self.num_samples, 1 / self.num_samples)


class GroupBalancedOrder(Order):
    """Every group that has samples is equally likely at every draw.

    Args:
        groups: (samples,) int64 group ids.
        seed: of all epochs.
        replacement: True draws as many samples as there are, each from a random group and at random
            inside it; False takes a fresh random subset of each group, of the smallest group's size.
    """

    def __init__(self, groups: np.ndarray, seed: int, replacement: bool) -> None:
        self.seed = seed
        self.replacement = replacement
        self.members = np.argsort(groups, kind="stable")
        self.counts = np.unique(groups, return_counts=True)[1]
        self.starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        if self.replacement:
            return len(self.members)
        return int(self.counts.min()) * len(self.counts)

    def epoch(self, epoch: int) -> np.ndarray:
        """Positions in random order; with replacement some come several times and some never."""
        random = generator(self.seed, "order", epoch)
        if self.replacement:
            group = random.integers(len(self.counts), size=len(self))
            drawn: np.ndarray = self.members[self.starts[group] + random.integers(self.counts[group])]
            return drawn
        smallest = int(self.counts.min())
        chosen = [
            random.permutation(self.members[start : start + count])[:smallest]
            for start, count in zip(self.starts, self.counts, strict=True)
        ]
        return random.permutation(np.concatenate(chosen))

    def probabilities(self) -> np.ndarray:
        """1 / (groups x samples of the group)."""
        chances = np.empty(len(self.members))
        chances[self.members] = np.repeat(1 / (len(self.counts) * self.counts), self.counts)
        return chances


def make_order(sampling: SamplingConfig, groups: np.ndarray, seed: int) -> Order:
    """The order that `sampling` asks for, over training samples of `groups` (samples,)."""
    if sampling.name == "uniform":
        return UniformOrder(len(groups), seed)
    return GroupBalancedOrder(groups, seed, sampling.replacement)
