"""A hash that tells one data set from another."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor

from framework.data.dataset import Splits
from framework.data.faults import Reader

#: numbers of a split that are read: a small data set whole, of a large one samples all over it
_MAX_NUMBERS = 2**22


def fingerprint(splits: Splits, *, tolerant: bool = False) -> str:
    """A hash of sizes, metadata, extra columns and samples (of large data, some).

    Args:
        splits: the data.
        tolerant: pass over samples that cannot be read.

    Raises:
        DataError: a sample cannot be read.
    """
    digest = hashlib.sha256()
    for name, dataset in sorted(splits.items()):
        digest.update(f"{name} {len(dataset)} {dataset.spec}".encode())
        for column in sorted(dataset.columns):
            digest.update(f"{column} {dataset.columns[column].names}".encode())
            digest.update(np.ascontiguousarray(dataset.columns[column].values).tobytes())
        for extra, values in sorted(dataset.extra.items()):
            digest.update(f"{extra} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        identity = dataset.identity()
        if identity is not None:
            digest.update(identity)
            continue
        count = min(len(dataset), _MAX_NUMBERS // max(dataset.spec.num_features, 1) + 1)
        read = np.linspace(0, len(dataset) - 1, count).astype(np.int64)
        content = Reader(dataset).fetch(read, None)[1] if tolerant else dataset.fetch(read, None)
        if content is None:
            continue
        inputs, targets = content
        tensors = {"inputs": inputs} if isinstance(inputs, Tensor) else inputs
        for key, tensor in sorted(tensors.items()):
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
        digest.update(targets.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
