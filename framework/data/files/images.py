"""Decodes image files to pixels of one size."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from framework.data.faults import BadSampleError

Color = Literal["rgb", "grayscale"]


def decode_image(source: Path | bytes, size: int, color: Color, place: str, position: int) -> np.ndarray:
    """(size, size, channels) uint8 of a file or of its content.

    Args:
        source: the file, or its bytes.
        size: height and width that the image is scaled to.
        color: `rgb` gives three channels, `grayscale` one.
        place: what messages call the image.
        position: of the sample it belongs to.

    Raises:
        BadSampleError: it cannot be decoded.
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            converted = eight_bits(image).convert("RGB" if color == "rgb" else "L")
            resized = converted.resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = f"cannot be decoded as an image: {error}"
        raise BadSampleError(place, reason, np.array([position])) from error
    return np.asarray(resized).reshape(size, size, -1)


def eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits per number: the upper ones of 16, where Pillow would cut all off at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def image_tensor(images: list[np.ndarray]) -> Tensor:
    """(k, channels, size, size) float32 in [0, 1] of what `decode_image` gave."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float().div_(255)
