"""Whole tensors by name, put together from the safetensors files of however many processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from framework.checkpoint.tree import STORED_DTYPES, Range
from framework.errors import CheckpointError
from framework.pieces import Stored

#: key in the metadata of a file: {name: {"start": ..., "shape": [...]}} of those that are pieces
_RANGES = "ranges"
_DTYPES = {name: dtype for dtype, name in STORED_DTYPES.items()}


def metadata_of(ranges: Mapping[str, Range]) -> dict[str, str]:
    """What a file says of the pieces in it; nothing if there are none."""
    if not ranges:
        return {}
    index = {name: {"start": own.start, "shape": list(own.shape)} for name, own in ranges.items()}
    return {_RANGES: json.dumps(index, separators=(",", ":"))}


@dataclass(frozen=True)
class _Part:
    """A piece in one of the files: elements [start, stop) of the whole tensor."""

    file: Any
    path: Path
    start: int
    stop: int


class StoredTensor(Stored):
    """A tensor in one or several files, which are read when it is."""

    def __init__(self, name: str, shape: torch.Size, dtype: torch.dtype) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.parts: list[_Part] = []

    def read(self, start: int, length: int) -> Tensor:
        stop = start + length
        values = torch.empty(length, dtype=self.dtype)
        for part in self.parts:
            first, last = max(start, part.start), min(stop, part.stop)
            if first < last:
                # The file is mapped: only the range that is copied comes from the disk.
                mapped = part.file.get_tensor(self.name).reshape(-1)
                values[first - start : last - start] = mapped[first - part.start : last - part.start]
        return values


class StoredTensors(Mapping[str, StoredTensor]):
    """The tensors in `paths`, by name.

    The files may be deleted while this lives, and must not be changed.

    Raises:
        CheckpointError: a file is not a safetensors file, or the pieces of a tensor are not the whole of it,
            each element once.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._tensors: dict[str, StoredTensor] = {}
        for path in paths:
            try:
                self._add(path)
            except OSError as error:
                raise CheckpointError(f"{path.name} cannot be read: {error.strerror or error}") from error
            except (SafetensorError, KeyError, TypeError, ValueError) as error:
                raise CheckpointError(f"{path.name} is not a file of tensors: {error}") from error
        for tensor in self._tensors.values():
            _check_whole(tensor)

    def __getitem__(self, name: str) -> StoredTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _add(self, path: Path) -> None:
        file: Any = safe_open(path, framework="pt")
        ranges = json.loads((file.metadata() or {}).get(_RANGES, "{}"))
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            stored = file.get_slice(name)
            own = torch.Size(stored.get_shape())
            dtype = _DTYPES[stored.get_dtype()]
            start, shape = 0, own
            if name in ranges:
                start, shape = ranges[name]["start"], torch.Size(ranges[name]["shape"])
            tensor = self._tensors.setdefault(name, StoredTensor(name, shape, dtype))
            if (tensor.shape, tensor.dtype) != (shape, dtype):
                raise CheckpointError(
                    f"{name} is {_show(shape, dtype)} in {path.name},"
                    f" and {_show(tensor.shape, tensor.dtype)} in {tensor.parts[0].path.name}"
                )
            tensor.parts.append(_Part(file, path, start, start + own.numel()))


def _check_whole(tensor: StoredTensor) -> None:
    position, before = 0, ""
    tensor.parts.sort(key=lambda part: (part.start, part.stop))
    for part in tensor.parts:
        if part.start > position:
            raise CheckpointError(f"elements {position} to {part.start - 1} of {tensor.name} are missing")
        if part.start < position:
            raise CheckpointError(
                f"elements {part.start} to {min(position, part.stop) - 1} of {tensor.name} are twice there:"
                f" in {before} and in {part.path.name}"
            )
        position, before = part.stop, part.path.name
    count = tensor.shape.numel()
    if position < count:
        raise CheckpointError(f"elements {position} to {count - 1} of {tensor.name} are missing")
    if position > count:
        raise CheckpointError(f"{tensor.name} has {count} elements, {before} more than that")


def _show(shape: torch.Size, dtype: torch.dtype) -> str:
    return f"{STORED_DTYPES[dtype]} of shape {tuple(shape)}"
