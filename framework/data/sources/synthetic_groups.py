"""A small spurious-correlation task whose groups are known."""

from __future__ import annotations

import numpy as np
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.in_memory import ArrayDataset
from framework.data.randomness import generator
from framework.options import Count, Fraction, Natural, NonNegative
from framework.registry import register


@register.dataset("synthetic_groups")
def synthetic_groups(
    seed: int,
    *,
    n: Count = 1000,
    n_evaluation: Count = 1000,
    correlation: Fraction = 0.95,
    core: NonNegative = 1.0,
    spurious: NonNegative = 2.0,
    num_core: Natural = 1,
    num_spurious: Natural = 1,
    num_noise: Natural = 20,
) -> Splits:
    """Two Gaussian classes that differ weakly in core and strongly in spurious features.

    With y and a in {-1, +1}, a sample is [core * y + noise, spurious * a + noise, noise], the noise
    having unit variance. In training a equals y at the rate `correlation`; in validation and test
    all four combinations of `label` and `attribute` have the same number of samples.

    Args:
        n: training samples.
        n_evaluation: samples of validation and of test, each; rounded up to a multiple of 4.
        correlation: share of each training class whose attribute equals its label.
        core: distance of each class from the origin in every core feature.
        spurious: distance of each attribute value from the origin in every spurious feature.
        num_core: core features.
        num_spurious: spurious features.
        num_noise: features that say nothing.
    """
    if num_core + num_spurious + num_noise == 0:
        raise ValueError("num_core, num_spurious and num_noise are all 0: there are no features")
    widths = (num_core, num_spurious, num_noise)
    spec = DataSpec((sum(widths),), num_classes=2, class_names=("0", "1"))
    counts = {"train": n, "validation": -(-n_evaluation // 4) * 4, "test": -(-n_evaluation // 4) * 4}
    splits: Splits = {}
    for split, count in counts.items():
        random = generator(seed, "synthetic_groups", split)
        label = np.arange(count) % 2
        attribute = label.copy()
        rate = correlation if split == "train" else 0.5
        for value in (0, 1):
            members = np.flatnonzero(label == value)
            attribute[members[round(rate * len(members)) :]] = 1 - value
        mean = np.repeat([core, spurious, 0.0], widths) * np.repeat(
            np.stack([2 * label - 1, 2 * attribute - 1, np.zeros(count)], axis=1), widths, axis=1
        )
        inputs = torch.from_numpy(mean + random.standard_normal(mean.shape)).float()
        columns = {"attribute": Column(attribute, ("0", "1"))}
        splits[split] = ArrayDataset(inputs, torch.from_numpy(label), spec, columns)
    return splits
