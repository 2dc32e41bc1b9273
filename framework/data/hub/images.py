"""Images in rows of the `datasets` library, decoded when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec, Inputs
from framework.data.dataset import Column, Dataset
from framework.data.files.images import Color, decode_image, image_tensor
from framework.data.hub.load import Rows, library
from framework.data.in_memory import select_metadata


class RowImages(Dataset):
    """One split of images.

    Args:
        rows: the library's, memory-mapped.
        name: of the column of images.
        positions: (samples,) int64 row of each sample.
        targets: (samples,) class ids or real numbers.
        spec: of the samples; its height is the size that images are scaled to.
        columns: metadata.
        extra: per-sample numbers.
    """

    def __init__(
        self,
        rows: Rows,
        name: str,
        positions: np.ndarray,
        targets: Tensor,
        spec: DataSpec,
        columns: Mapping[str, Column],
        extra: Mapping[str, np.ndarray],
    ) -> None:
        self.rows = rows.select_columns([name]).cast_column(name, library().Image(decode=False))
        self.name = name
        self.positions = positions
        self.targets = targets
        self.spec = spec
        self.columns = columns
        self.extra = extra

    def __len__(self) -> int:
        return len(self.positions)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Decoded images (k, channels, size, size) in [0, 1] and their targets (k,).

        Raises:
            BadSampleError: an image is missing or cannot be decoded.
        """
        rows = self.positions[positions].tolist()
        color: Color = "rgb" if self.spec.input_shape[0] == 3 else "grayscale"
        images = [
            decode_image(
                (entry or {}).get("bytes") or Path((entry or {}).get("path") or ""),
                self.spec.input_shape[1],
                color,
                f"column '{self.name}', row {row + 1}",
                position,
            )
            for row, entry, position in zip(rows, self.rows[rows][self.name], positions.tolist(), strict=True)
        ]
        return image_tensor(images), self.targets.index_select(0, torch.from_numpy(positions))

    def select(self, positions: np.ndarray) -> RowImages:
        """The images at `positions`; the rows are shared."""
        columns, extra = select_metadata(self, positions)
        targets = self.targets.index_select(0, torch.from_numpy(positions))
        return RowImages(self.rows, self.name, self.positions[positions], targets, self.spec, columns, extra)
