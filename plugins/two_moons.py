"""Example plugin: a dataset made by a function, with a metadata column to form groups of.

Copy this file, change the arrays, and name it: `plugins: [two_moons]` in a run file, then
`data: {source: {name: two_moons, noise: 0.2}, groups: [label, end]}`. Keyword-only parameters are the
options of the YAML section; `seed` is given by the run. Splitting, groups, order and background
loading are done for you.
"""

from __future__ import annotations

import numpy as np
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.in_memory import ArrayDataset
from framework.options import Count, NonNegative
from framework.registry import register


@register.dataset("two_moons")
def two_moons(seed: int, *, n: Count = 1000, noise: NonNegative = 0.1) -> Splits:
    """Two interleaved half circles in the plane; column `end` says which samples reach into the other.

    Args:
        n: samples; the classes alternate.
        noise: standard deviation of what is added to both coordinates; the circles have radius 1.
    """
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    angle = random.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(label[:, None] == 0, upper, lower) + random.normal(0, noise, (n, 2))
    # the half of each moon that lies inside the curve of the other
    inner = (angle < np.pi / 2).astype(np.int64)

    spec = DataSpec(input_shape=(2,), num_classes=2, class_names=("upper", "lower"))
    columns = {"end": Column(inner, names=("outer", "inner"))}
    return {"train": ArrayDataset(torch.from_numpy(points).float(), torch.from_numpy(label), spec, columns)}
