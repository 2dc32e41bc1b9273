"""The classes of a data set: ids of names, and the samples of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from framework.data.dataset import Dataset
from framework.naming import nearest


def class_ids(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """The ids of the classes called `names`.

    Raises:
        ValueError: the data has no such class, or it has no classes at all.
    """
    known = class_names(dataset)
    unknown = [f"'{name}'{nearest(name, known)}" for name in names if name not in known]
    if unknown:
        raise ValueError(f"no class {', '.join(unknown)} (classes: {', '.join(known)})")
    return [known.index(name) for name in names]


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """What the classes are called.

    Raises:
        ValueError: the targets are real numbers.
    """
    if dataset.spec.num_classes is None:
        raise ValueError("needs classes, but the targets of this data are real numbers")
    return dataset.columns["label"].names


def class_members(dataset: Dataset) -> list[np.ndarray]:
    """Positions of the samples of each class."""
    labels = dataset.columns["label"].values
    return [np.flatnonzero(labels == number) for number in range(len(class_names(dataset)))]
