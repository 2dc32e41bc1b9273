"""A small regression that scikit-learn brings along, so nothing is downloaded."""

from __future__ import annotations

import numpy as np
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.in_memory import ArrayDataset
from framework.registry import register


@register.dataset("diabetes")
def diabetes() -> Splits:
    """Ten measurements of 442 patients and how far the disease went in a year, in hundreds of its score.

    Column `sex` holds the two codes of the publication (Efron et al., Annals of Statistics 2004), which
    does not say which is which.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    spec = DataSpec((bunch.data.shape[1],), num_classes=None)
    codes, sex = np.unique(bunch.data[:, bunch.feature_names.index("sex")], return_inverse=True)
    columns = {"sex": Column(sex.astype(np.int64), tuple(f"{code:g}" for code in codes))}
    inputs, targets = torch.from_numpy(bunch.data).float(), torch.from_numpy(bunch.target / 100).float()
    return {"train": ArrayDataset(inputs, targets, spec, columns)}
