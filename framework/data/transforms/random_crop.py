"""Shifts training images at random."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from framework.data.dataset import Splits
from framework.data.randomness import uniforms
from framework.data.views import with_augmentation
from framework.options import Count, Finite
from framework.registry import register


@register.transform("random_crop")
@dataclass(frozen=True)
class RandomCrop:
    """Pads each training image on all sides and cuts its old size out at a random place.

    The place is drawn anew for every sample and epoch.

    Args:
        padding: pixels added on each side, and so the largest shift.
        fill: value of the added pixels.
    """

    seed: int
    _: KW_ONLY
    padding: Count = 4
    fill: Finite = 0.0

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with an augmented `train`."""
        if len(splits["train"].spec.input_shape) != 3:
            raise ValueError(f"needs images, not samples of shape {splits['train'].spec.input_shape}")
        crop = _Crop(self.seed, self.padding, self.fill)
        return {**splits, "train": with_augmentation(splits["train"], crop)}


@dataclass(frozen=True)
class _Crop:
    seed: int
    padding: int
    fill: float

    def __call__(self, inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
        if epoch is None:
            return inputs
        count, channels, height, width = inputs.shape
        places = 2 * self.padding + 1
        top = (uniforms(ids, self.seed, "random_crop", "top", epoch) * places).astype(np.int64)
        left = (uniforms(ids, self.seed, "random_crop", "left", epoch) * places).astype(np.int64)
        padded = F.pad(inputs, (self.padding,) * 4, value=self.fill)
        rows = torch.from_numpy(top).view(-1, 1, 1, 1) + torch.arange(height).view(1, 1, -1, 1)
        columns = torch.from_numpy(left).view(-1, 1, 1, 1) + torch.arange(width).view(1, 1, 1, -1)
        sample = torch.arange(count).view(-1, 1, 1, 1)
        channel = torch.arange(channels).view(1, -1, 1, 1)
        return padded[sample, channel, rows, columns]
