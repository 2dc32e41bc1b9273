"""Small shards made in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.in_memory import ArrayDataset
from framework.data.shards.manifest import Manifest
from framework.data.shards.writer import write_shards
from tests.data_samples import component


def pictures(count: int = 40, seed: int = 0) -> ArrayDataset:
    """8-bit colour pictures of 5 x 4 pixels whose first two bytes say which sample it is."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 3, 5, 4), dtype=np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    labels = torch.arange(count) % 3
    colour = Column(np.where(np.arange(count) % 5 == 4, -1, np.arange(count) % 2), ("red", "grün"))
    extra = {"sample_weight": random.random(count).astype(np.float32)}
    inputs = torch.from_numpy(pixels).float().div_(255)
    spec = DataSpec((3, 5, 4), 3, ("a", "b", "c"))
    return ArrayDataset(inputs, labels, spec, {"colour": colour}, extra)


def identities(inputs: torch.Tensor) -> list[int]:
    """Which pictures `inputs` (k, 3, 5, 4) are."""
    bytes_ = inputs[:, 0, 0, :2].mul(255).round().long()
    return (bytes_[:, 0] + 256 * bytes_[:, 1]).tolist()


def write(folder: Path, splits: Splits | None = None, **options: Any) -> Manifest:
    """The pictures (or `splits`) as shards of at most eight samples."""
    given = {"max_size": 37_000, "group_columns": ["label"], "made_from": "test", **options}
    return write_shards(splits or {"train": pictures(), "test": pictures(9, 1)}, folder, **given)


def read(folder: Path, **options: Any) -> Splits:
    """The source over `folder`."""
    splits: Splits = component("dataset", "webdataset", path=str(folder), **options)
    return splits
