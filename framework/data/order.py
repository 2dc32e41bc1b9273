"""Which samples an epoch visits, in which order: a pure function of (seed, epoch)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from framework.config.schema import SamplingConfig
from framework.data.randomness import generator, permuted
from framework.errors import ConfigError, Problem

#: samples whose permutation is stored, a gigabyte of it; more are permuted by arithmetic
LARGEST_PERMUTATION = 2**27
#: draws whose files are announced before they come
_AHEAD = 4096


class Order(ABC):
    """The sample positions of every epoch; knows nothing of ranks, workers or batches."""

    @abstractmethod
    def __len__(self) -> int:
        """Samples drawn in one epoch."""

    @abstractmethod
    def epoch(self, epoch: int) -> np.ndarray:
        """Positions in the training split (draws,), int64."""

    def positions(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Draws `start` to `stop` of `epoch` (at most stop - start, at its end fewer), int64."""
        if self._latest[0] != epoch:
            self._latest = (epoch, self.epoch(epoch))
        return self._latest[1][start:stop]

    def ahead(self, epoch: int, start: int) -> np.ndarray:
        """Samples in whose files those from draw `start` on lie, in the order in which they are needed."""
        return self.positions(epoch, start, start + _AHEAD)

    #: the epoch that was asked for last, whole
    _latest: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def identity(self) -> bytes:
        """What a file or the configuration says of the order beside the seed; empty where it says nothing."""
        return b""

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


class KeyedOrder(Order):
    """Each sample once per epoch, permuted by a keyed bijection, in no memory."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed

    def __len__(self) -> int:
        return self.num_samples

    def epoch(self, epoch: int) -> np.ndarray:
        """A permutation of all positions."""
        return self.positions(epoch, 0, self.num_samples)

    def positions(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The places to which draws `start` to `stop` are taken."""
        draws = np.arange(start, min(stop, self.num_samples))
        return permuted(draws, self.num_samples, self.seed, "order", epoch)

    def probabilities(self) -> np.ndarray:
        """1 / samples each, in the memory of one number."""
        return np.broadcast_to(1 / self.num_samples, self.num_samples)


class BlockOrder(Order):
    """Each sample once per epoch: files are permuted, and the samples of several files at a time.

    Reading then touches few files at once and each only in one stretch of the epoch.

    Args:
        starts: (files,) position at which the samples of each file start, from 0 on.
        num_samples: samples in all files.
        seed: of all epochs.
        num_files: files whose samples are mixed with each other.
    """

    def __init__(self, starts: np.ndarray, num_samples: int, seed: int, num_files: int) -> None:
        self.starts = starts
        self.sizes = np.diff(starts, append=num_samples)
        self.seed = seed
        self.num_files = num_files
        self._files: tuple[int, np.ndarray, np.ndarray] = (-1, starts, starts)
        self._block: tuple[tuple[int, int], np.ndarray] = ((-1, -1), starts)

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def epoch(self, epoch: int) -> np.ndarray:
        """A permutation of all positions, block after block."""
        return self.positions(epoch, 0, len(self))

    def positions(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Only the blocks between `start` and `stop` are made."""
        ends = self._permuted_files(epoch)[1]
        stop = min(stop, len(self))
        first, last = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
        before = int(ends[first - 1]) if first else 0
        blocks = [self._permuted_block(epoch, block) for block in range(first, last + 1)]
        return np.concatenate([*blocks, np.zeros(0, np.int64)])[start - before : stop - before]

    def ahead(self, epoch: int, start: int) -> np.ndarray:
        """The first sample of each file of this block and of the next one, which may be of the next epoch."""
        files, ends = self._permuted_files(epoch)
        block = int(np.searchsorted(ends, start, side="right"))
        wanted = files[block * self.num_files : (block + 2) * self.num_files]
        if block + 1 >= len(ends):
            following = generator(self.seed, "order", epoch + 1, "files").permutation(len(self.starts))
            wanted = np.concatenate([wanted, following[: self.num_files]])
        starts: np.ndarray = self.starts[wanted]
        return starts

    def probabilities(self) -> np.ndarray:
        """1 / samples each."""
        return np.full(len(self), 1 / len(self))

    def _permuted_files(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The files in the order of `epoch`, and the draw at which each block ends."""
        if self._files[0] != epoch:
            files = generator(self.seed, "order", epoch, "files").permutation(len(self.starts))
            ends = np.cumsum(np.add.reduceat(self.sizes[files], np.arange(0, len(files), self.num_files)))
            self._files = (epoch, files, ends)
        return self._files[1:]

    def _permuted_block(self, epoch: int, block: int) -> np.ndarray:
        if self._block[0] != (epoch, block):
            files = self._permuted_files(epoch)[0][block * self.num_files : (block + 1) * self.num_files]
            inside = [np.arange(self.starts[f], self.starts[f] + self.sizes[f]) for f in files]
            random = generator(self.seed, "order", epoch, "block", block)
            self._block = ((epoch, block), random.permutation(np.concatenate(inside)))
        return self._block[1]


def make_order(
    sampling: SamplingConfig, groups: np.ndarray, seed: int, runs: np.ndarray | None = None
) -> Order:
    """The order that `sampling` asks for, over training samples of `groups` (samples,).

    Args:
        sampling: which order.
        groups: (samples,) group ids.
        seed: of all epochs.
        runs: where the samples of each file start, as `Dataset.runs` says it.

    Raises:
        ConfigError: blocks are asked for, but the data lies in no files.
    """
    if sampling.name == "blocks":
        if runs is None:
            text = "`blocks` needs data in shards, and this data is in none of them; use uniform"
            raise ConfigError([Problem("data.sampling.name", text)])
        return BlockOrder(runs, len(groups), seed, sampling.shards)
    if sampling.name == "uniform":
        make = UniformOrder if len(groups) <= LARGEST_PERMUTATION else KeyedOrder
        return make(len(groups), seed)
    return GroupBalancedOrder(groups, seed, sampling.replacement)
