"""Handwritten digits that scikit-learn brings along, so nothing is downloaded."""

from __future__ import annotations

import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Splits
from framework.data.in_memory import ArrayDataset
from framework.registry import register


@register.dataset("digits")
def digits(*, flat: bool = False) -> Splits:
    """1,797 handwritten digits of 8 x 8 pixels in [0, 1], ten classes.

    Args:
        flat: give (64,) features instead of (1, 8, 8) images.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    shape = (64,) if flat else (1, 8, 8)
    inputs = torch.from_numpy(pixels / 16).float().reshape(-1, *shape)
    spec = DataSpec(shape, num_classes=10, class_names=tuple(map(str, range(10))))
    return {"train": ArrayDataset(inputs, torch.from_numpy(labels).long(), spec)}
