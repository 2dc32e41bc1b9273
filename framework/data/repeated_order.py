"""An order in which a file says which samples come more often."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from framework.config.schema import SamplingConfig
from framework.data.files.array_files import read_array
from framework.data.order import Order
from framework.data.randomness import generator
from framework.errors import ConfigError, DataError, Problem


class RepeatedOrder(Order):
    """Every sample once per epoch and some several times more, permuted.

    It is the order over a data set in which samples were duplicated, as JTT does with the error set of
    its first model (Liu et al., ICML 2021, arXiv 2107.09044; anniesch/jtt, `run_expt.py`).

    Args:
        counts: (samples,) int64 how often each sample comes in an epoch.
        seed: of all epochs.
    """

    def __init__(self, counts: np.ndarray, seed: int) -> None:
        self.counts = counts
        self.seed = seed

    def __len__(self) -> int:
        return int(self.counts.sum())

    def epoch(self, epoch: int) -> np.ndarray:
        """A permutation of all positions, each as often as it counts."""
        positions = np.repeat(np.arange(len(self.counts)), self.counts)
        return generator(self.seed, "order", epoch).permutation(positions)

    def identity(self) -> bytes:
        """How often each sample comes."""
        return self.counts.tobytes()

    def probabilities(self) -> np.ndarray:
        """The sample's share of an epoch."""
        chances: np.ndarray = self.counts / self.counts.sum()
        return chances


def make_repeated_order(sampling: SamplingConfig, num_samples: int, seed: int) -> RepeatedOrder:
    """The order in which a sample comes once, and `up_weight` times more for each 1 in the file.

    Raises:
        ConfigError: no file is named.
        DataError: it is missing, or does not hold one whole number >= 0 per training sample.
    """
    path = sampling.path
    if path is None:
        message = "`repeated` needs the file that says which samples, with a number for each of them"
        raise ConfigError([Problem("data.sampling.path", message)])
    values = read_array(Path(), path)
    if values.shape != (num_samples,):
        raise DataError(f"{path} has shape {values.shape}; the training split needs ({num_samples},)")
    if values.dtype.kind not in "iub" or (values.astype(np.int64) < 0).any():
        raise DataError(f"{path}: the numbers must be whole and not negative")
    return RepeatedOrder(1 + sampling.up_weight * values.astype(np.int64), seed)
