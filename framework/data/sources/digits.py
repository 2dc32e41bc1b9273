"""Handwritten digits that scikit-learn brings along, so nothing is downloaded."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
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
    table = _table()
    shape = (64,) if flat else (1, 8, 8)
    inputs = table[:, :-1].reshape(-1, *shape) / 16
    spec = DataSpec(shape, num_classes=10, class_names=tuple(map(str, range(10))))
    return {"train": ArrayDataset(inputs, table[:, -1].long(), spec)}


def _table() -> torch.Tensor:
    """64 pixels from 0 to 16 and the digit, a row for each image, (1797, 65).

    The file is read without importing scikit-learn, which would take about as long as importing torch.
    """
    spec = find_spec("sklearn")
    assert spec is not None, "scikit-learn is a dependency"
    file = Path(spec.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as lines:
        return torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.float32))
