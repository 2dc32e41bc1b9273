"""A few samples in a form that a person can look at: pictures, rows of a table, texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from torch import Tensor

from framework.data.dataset import Dataset

_CHANNELS = (1, 2, 3)
#: longer sides are scaled down to this many pixels
_MAX_SIDE = 128
#: characters of a text
_MAX_TEXT = 600
#: of a sample that is only numbers, so many are shown
_MAX_NUMBERS = 12


@dataclass(frozen=True)
class Preview:
    """One sample.

    Attributes:
        target: its class or value.
        image: a PNG as data URI, empty for samples that are no pictures.
        fields: what else there is to read, a text per name.
    """

    target: str
    image: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def preview(dataset: Dataset, positions: Sequence[int]) -> list[Preview]:
    """The samples at `positions`, without augmentation.

    Inputs of one to three channels become pictures; a source that can tell what its numbers mean
    (`Dataset.readable`) is asked; of any other sample the first numbers are shown.
    """
    if not positions:
        return []
    index = np.array(positions, dtype=np.int64)
    inputs, targets = dataset.fetch(index, None)
    readable = dataset.readable(index)
    previews = []
    for place in range(len(positions)):
        target = _target(dataset, targets[place])
        if readable is not None:
            fields = {name: _beginning(text, _MAX_TEXT) for name, text in readable[place].items()}
            previews.append(Preview(target, fields=fields))
        elif isinstance(inputs, Tensor) and _is_picture(inputs[place]):
            previews.append(Preview(target, image=_png(inputs[place])))
        else:
            previews.append(Preview(target, fields=_numbers(inputs, place)))
    return previews


def _beginning(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} ..."


def _target(dataset: Dataset, target: Tensor) -> str:
    if dataset.spec.num_classes is not None and target.dim() == 0:
        names = dataset.spec.class_names
        return names[int(target)] if names else str(int(target))
    if dataset.spec.next_tokens:
        return "the next tokens"
    return ", ".join(f"{value:.6g}" for value in target.flatten().tolist()[:_MAX_NUMBERS])


def _is_picture(inputs: Tensor) -> bool:
    return inputs.dim() == 3 and len(inputs) in _CHANNELS and min(inputs.shape[1:]) > 1


def _png(inputs: Tensor) -> str:
    """(channels, height, width) with its own smallest number black; two channels are red and green."""
    pixels = np.nan_to_num(inputs.double().numpy())
    low, high = pixels.min(), pixels.max()
    levels = ((pixels - low) / (high - low if high > low else 1) * 255).round().astype(np.uint8)
    if len(levels) == 2:
        levels = np.concatenate([levels, np.zeros_like(levels[:1])])
    image = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _numbers(inputs: Tensor | dict[str, Tensor], place: int) -> dict[str, str]:
    parts = {"inputs": inputs} if isinstance(inputs, Tensor) else inputs
    return {name: _listed(part[place].flatten().tolist()) for name, part in parts.items()}


def _listed(values: list[float]) -> str:
    text = ", ".join(f"{value:.4g}" for value in values[:_MAX_NUMBERS])
    return text if len(values) <= _MAX_NUMBERS else f"{text}, ... ({len(values)} numbers)"
