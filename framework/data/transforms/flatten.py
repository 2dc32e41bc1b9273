"""Turns images into feature vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from framework.data.dataset import Splits
from framework.data.views import with_inputs
from framework.registry import register


@register.transform("flatten")
@dataclass(frozen=True)
class Flatten:
    """Lays each sample out as one vector of features, in every split."""

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with inputs (samples, features)."""
        return {
            name: with_inputs(dataset, _flat, (dataset.spec.num_features,))
            for name, dataset in splits.items()
        }


def _flat(inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
    return inputs.flatten(1)
