"""A split whose inputs need statistics of the training split before they are numbers."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from torch import Tensor

from framework.data.batch import Inputs
from framework.data.dataset import Dataset, Splits


class Unfitted(Dataset):
    """What a source returns when its encoding must be learnt on the training split alone."""

    @abstractmethod
    def fitted(self, training: Dataset) -> Dataset:
        """These samples, encoded by what `training` (of the same class) holds."""

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Never called: the data is fitted right after it is split."""
        raise AssertionError("raw samples have no inputs yet; fit the splits first")


def fit(splits: Splits) -> Splits:
    """The splits with every raw one encoded by the training split."""
    training = splits["train"]
    return {
        name: dataset.fitted(training) if isinstance(dataset, Unfitted) else dataset
        for name, dataset in splits.items()
    }
