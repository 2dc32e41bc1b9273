"""Mirrors training images at random."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from framework.data.dataset import Splits
from framework.data.randomness import uniforms
from framework.data.views import with_augmentation
from framework.options import Fraction
from framework.registry import register


@register.transform("random_flip")
@dataclass(frozen=True)
class RandomFlip:
    """Mirrors each training image with some chance, drawn anew for every sample and epoch.

    Args:
        chance: of an image to be mirrored.
        axis: `horizontal` exchanges left and right, `vertical` top and bottom.
    """

    seed: int
    _: KW_ONLY
    chance: Fraction = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with an augmented `train`."""
        if len(splits["train"].spec.input_shape) != 3:
            raise ValueError(f"needs images, not samples of shape {splits['train'].spec.input_shape}")
        flip = _Flip(self.seed, self.chance, self.axis)
        return {**splits, "train": with_augmentation(splits["train"], flip)}


@dataclass(frozen=True)
class _Flip:
    seed: int
    chance: float
    axis: str

    def __call__(self, inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
        if epoch is None:
            return inputs
        mirrored = uniforms(ids, self.seed, "random_flip", self.axis, epoch) < self.chance
        chosen = torch.from_numpy(mirrored).view(-1, 1, 1, 1)
        return torch.where(chosen, inputs.flip(-1 if self.axis == "horizontal" else -2), inputs)
