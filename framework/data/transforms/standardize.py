"""Zero mean and unit variance, measured on the training split."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from framework.config.schema import OnError
from framework.data.dataset import Dataset, Splits
from framework.data.faults import Reader
from framework.data.views import single_input, with_inputs
from framework.registry import register

_CHUNK = 1024


@register.transform("standardize")
@dataclass(frozen=True)
class Standardize:
    """Subtracts the training mean and divides by the training standard deviation, in every split.

    Features are treated one by one, images channel by channel. A constant feature becomes 0.

    Args:
        center: subtract the mean; without it only the scale changes.
    """

    on_error: OnError
    _: KW_ONLY
    center: bool = True

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with standardized inputs."""
        mean, deviation = _moments(splits["train"], tolerant=self.on_error == "quarantine")
        mean = mean if self.center else torch.zeros_like(mean)
        affine = _Affine(mean.float(), torch.where(deviation > 0, deviation, 1).float())
        return {
            name: with_inputs(dataset, affine, dataset.spec.input_shape) for name, dataset in splits.items()
        }


@dataclass(frozen=True)
class _Affine:
    """(inputs - mean) / scale, with both of the shape of a sample or broadcast over it."""

    mean: Tensor
    scale: Tensor

    def __call__(self, inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
        return (inputs - self.mean) / self.scale


def _moments(dataset: Dataset, *, tolerant: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float64, (features,) or (channels, 1, 1).

    The samples (if `tolerant`, those that can be read) are read once, as decoding them may be slow; moments
    of chunks are merged (Chan et al.).
    """
    over = (0,) if len(dataset.spec.input_shape) == 1 else (0, -2, -1)
    reader = Reader(dataset) if tolerant else None
    count = 0
    mean = squares = torch.zeros(1, dtype=torch.float64)
    for start in range(0, len(dataset), _CHUNK):
        positions = np.arange(start, min(start + _CHUNK, len(dataset)))
        content = reader.fetch(positions, None)[1] if reader else dataset.fetch(positions, None)
        if content is None:
            continue
        chunk = single_input(content[0]).double()
        chunk_mean = chunk.mean(over, keepdim=True)
        size = chunk.numel() // chunk_mean.numel()
        shift = chunk_mean - mean
        squares = squares + (chunk - chunk_mean).square().sum(over, keepdim=True)
        squares = squares + shift.square() * (count * size / (count + size))
        mean = mean + shift * (size / (count + size))
        count += size
    return mean[0], (squares / count).sqrt()[0]
