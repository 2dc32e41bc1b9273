"""From samples of any dataset to the members of a shard."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from framework.data.dataset import Dataset
from framework.data.shards.manifest import InputField
from framework.data.shards.tar import padded
from framework.errors import DataError

#: `raw`: pixels of 8 bits as they are, other numbers as float32; `png`: compressed; `float`: always float32
Images = Literal["raw", "png", "float"]
_PROBES = 64
#: characters of the longest number in JSON, with its separators
_NUMBER = 30


class Encoder:
    """How the samples of one dataset become members.

    Args:
        dataset: the samples; a few are read to learn types and shapes.
        images: how inputs of three dimensions are stored.

    Raises:
        DataError: `png` is asked for what is no image of 8 bits with one or three channels.
    """

    def __init__(self, dataset: Dataset, images: Images) -> None:
        self.dataset = dataset
        probes = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), _PROBES)).astype(np.int64))
        inputs, targets = dataset.fetch(probes, None)
        tensors = {"": inputs} if isinstance(inputs, Tensor) else inputs
        self.inputs = {name: _field(name, tensor, images) for name, tensor in tensors.items()}
        self.target = _array_field("target", targets) if dataset.spec.num_classes is None else None
        self.headers = {
            f.member: _npy_header(f) for f in [*self.inputs.values(), self.target] if f and f.kind == "array"
        }

    @property
    def extensions(self) -> list[str]:
        """The members of every sample, in order."""
        target = [self.target.member] if self.target else []
        return [*(field.member for field in self.inputs.values()), *target, "json"]

    def largest(self) -> int:
        """Bytes that no sample exceeds in an archive; compressed images take fewer, as a rule."""
        size = 0
        for field in [*self.inputs.values(), *([self.target] if self.target else [])]:
            size += padded(int(np.prod(field.shape)) * np.dtype(field.dtype).itemsize + 256)
        texts = sum(len(json.dumps(name)) + _NUMBER for name in self.dataset.extra) + 2 * _NUMBER
        for name, column in self.dataset.columns.items():
            texts += len(json.dumps(name)) + max((len(json.dumps(n)) for n in column.names), default=0) + 8
        return size + padded(texts)

    def encode(self, positions: np.ndarray) -> Iterator[list[bytes]]:
        """The contents of the members of each sample at `positions`, in the order of `extensions`.

        Raises:
            DataError: a sample cannot be stored as the first ones were.
        """
        inputs, targets = self.dataset.fetch(positions, None)
        tensors = {"": inputs} if isinstance(inputs, Tensor) else inputs
        parts = [self._contents(field, tensors[name]) for name, field in self.inputs.items()]
        if self.target:
            parts.append(self._contents(self.target, targets))
        parts.append(self._metadata(positions, targets))
        return (list(contents) for contents in zip(*parts, strict=True))

    def _contents(self, field: InputField, tensor: Tensor) -> list[bytes]:
        stored = _pixels(tensor) if field.scale != 1 else tensor
        if stored is None:
            raise DataError(
                "some images have 8 bits per number and some more; --images float stores them all as float32"
            )
        numbers = stored.numpy().astype(field.dtype, copy=False)
        if numbers.shape[1:] != field.shape:
            raise DataError(f"samples of shape {numbers.shape[1:]} and of {field.shape} cannot share shards")
        if field.kind == "image":
            return [_png(sample) for sample in numbers]
        header = self.headers[field.member]
        return [header + sample.tobytes() for sample in numbers]

    def _metadata(self, positions: np.ndarray, targets: Tensor) -> list[bytes]:
        values: dict[str, list[object]] = {}
        for name, column in self.dataset.columns.items():
            values[name] = [column.names[v] if v >= 0 else None for v in column.values[positions].tolist()]
        for name, numbers in self.dataset.extra.items():
            if numbers.ndim == 1:
                values[name] = numbers[positions].tolist()
        if self.target and targets.ndim == 1:
            values["target"] = targets.tolist()
        rows = zip(*values.values(), strict=True) if values else (() for _ in positions)
        return [json.dumps(dict(zip(values, row, strict=True))).encode() for row in rows]


def _field(name: str, tensor: Tensor, images: Images) -> InputField:
    """How to store an input of which `tensor` (k, ...) holds some samples."""
    prefix = f"{name}." if name else ""
    is_image = tensor.ndim == 4 and tensor.is_floating_point()
    if not is_image or images == "float":
        return _array_field(name, tensor)
    eight_bits = _pixels(tensor) is not None
    shape = tuple(tensor.shape[1:])
    if images == "png":
        if not eight_bits or shape[0] not in (1, 3):
            why = f"have {shape[0]} channels" if eight_bits else "are no multiples of 1/255"
            raise DataError(
                f"png stores pixels of 8 bits in 1 or 3 channels, but these {why}; use --images raw"
            )
        return InputField(member=f"{prefix}png", kind="image", dtype="uint8", shape=shape, scale=255)
    if not eight_bits:
        return _array_field(name, tensor)
    return InputField(member=f"{prefix}npy", kind="array", dtype="uint8", shape=shape, scale=255)


def _array_field(name: str, tensor: Tensor) -> InputField:
    if tensor.dtype not in (torch.float32, torch.int64):
        raise DataError(f"{name or 'inputs'} of {tensor.dtype} cannot be stored; float32 and int64 can")
    dtype = str(tensor.dtype).removeprefix("torch.")
    member = f"{name}.npy" if name else "npy"
    return InputField(member=member, kind="array", dtype=dtype, shape=tuple(tensor.shape[1:]))


def _pixels(tensor: Tensor) -> Tensor | None:
    """Numbers in [0, 1] as the bytes that give them back bit by bit, or None if there are none."""
    stored = tensor.mul(255).round_()
    if not ((stored >= 0) & (stored <= 255)).all():
        return None
    stored = stored.to(torch.uint8)
    return stored if torch.equal(stored.float().div_(255), tensor) else None


def _npy_header(field: InputField) -> bytes:
    file = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(np.dtype(field.dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": field.shape})
    return file.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file of (channels, height, width) uint8."""
    from PIL import Image

    file = io.BytesIO()
    image = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
