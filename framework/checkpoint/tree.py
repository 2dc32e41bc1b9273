"""A state tree taken apart into named tensors and a JSON skeleton, and put together again bit for bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.pieces import Piece, Stored, whole

#: what `state_dict` gives: dictionaries with string keys, lists, tuples (which come back as lists),
#: tensors or pieces of them, numpy arrays, None, bool, int, float, str. numpy scalars come back as Python
#: numbers.
State = dict[str, Any]

#: dtypes that a safetensors file can name; others are kept as bytes beside their name and shape
STORED_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_RAW_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.complex32,
        torch.complex64,
        torch.complex128,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2fnuz,
    )
}
#: JSON readers other than Python's keep integers exactly only up to here
_SAFE_INT = 2**53


@dataclass(frozen=True)
class Range:
    """Where a stored tensor lies in a whole one.

    Attributes:
        start: number of its first element in the whole tensor, in row-major order.
        shape: of the whole tensor.
    """

    start: int
    shape: torch.Size


@dataclass(frozen=True)
class FlatState:
    """What this rank writes of a state, on the host.

    Attributes:
        skeleton: the tree as JSON values, with a reference in place of each tensor.
        tensors: contiguous CPU tensors by the name that the skeleton refers to.
        ranges: of those that are pieces, by name; pieces have one dimension.
    """

    skeleton: Any
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)


def flatten(state: Mapping[str, Any], *, copy: bool, pieces_only: bool = False) -> FlatState:
    """Take `state` apart.

    Args:
        state: the tree.
        copy: whether the tensors must stay as they are while the originals move on.
        pieces_only: leave out whole tensors, which another rank writes.

    Raises:
        TypeError: something in the tree is not a kind of value that can be kept.
    """
    taken = _Taken(copy, pieces_only)
    return FlatState(_encode(state, (), taken), taken.tensors, taken.ranges)


class _Taken:
    """The tensors that were met in a tree."""

    def __init__(self, copy: bool, pieces_only: bool) -> None:
        self.copy = copy
        self.pieces_only = pieces_only
        self.tensors: dict[str, Tensor] = {}
        self.ranges: dict[str, Range] = {}
        self._names: dict[object, str] = {}
        # An address identifies a tensor only for as long as the tensor lives.
        self._alive: list[object] = []

    def keep(self, tensor: Tensor, path: tuple[str, ...], identity: object) -> str:
        """The name of a whole tensor."""
        self._alive.append(tensor)
        name = self._names.setdefault(identity, _name(path))
        if name not in self.tensors and not self.pieces_only:
            self.tensors[name] = _to_host(tensor, copy=self.copy)
        return name

    def keep_piece(self, piece: Piece, path: tuple[str, ...]) -> str:
        """The name of the whole tensor that `piece` belongs to."""
        self._alive.append(piece)
        # By the object: an empty piece has no address, and every rank must come to the same name.
        name = self._names.setdefault(("piece", id(piece)), _name(path))
        if name not in self.tensors and piece.values.numel():
            self.tensors[name] = _to_host(piece.values.detach().reshape(-1), copy=self.copy)
            self.ranges[name] = Range(piece.start, piece.shape)
        return name


def unflatten(skeleton: Any, get: Callable[[str], Tensor | Stored]) -> Any:
    """The tree of a skeleton; `get` finds a whole tensor by name, and the same one for the same name.

    Tied tensors (one memory, one shape) are kept once and come back as one object.

    Raises:
        ValueError: this is not a skeleton that `flatten` made.
    """
    if isinstance(skeleton, list):
        return [unflatten(item, get) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    if len(skeleton) == 1:
        ((key, value),) = skeleton.items()
        match key:
            case "$tensor":
                return get(value)
            case "$array":
                return whole(get(value)).numpy()
            case "$raw":
                name, dtype, shape = value
                return whole(get(name)).view(_RAW_DTYPES[dtype]).reshape(shape)
            case "$float":
                return struct.unpack(">d", bytes.fromhex(value))[0]
            case "$int":
                return int(value, 16)
            case "$dict":
                return {k: unflatten(v, get) for k, v in value.items()}
    for key in skeleton:
        if key.startswith("$"):
            raise ValueError(f"unknown kind of value {key}")
    return {k: unflatten(v, get) for k, v in skeleton.items()}


def references(skeleton: Any) -> set[str]:
    """The names of the tensors that a skeleton refers to."""
    if isinstance(skeleton, list):
        return set().union(*map(references, skeleton))
    if not isinstance(skeleton, dict):
        return set()
    if len(skeleton) == 1:
        ((key, value),) = skeleton.items()
        if key in ("$tensor", "$array"):
            return {value}
        if key == "$raw":
            return {value[0]}
    return set().union(*map(references, skeleton.values()))


def as_bytes(tensor: Tensor) -> Tensor:
    """The memory of a contiguous tensor, as uint8."""
    # `view` looks at strides even where a dimension of size 1 makes them meaningless.
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _encode(value: Any, path: tuple[str, ...], taken: _Taken) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if abs(value) <= _SAFE_INT else {"$int": hex(value)}
        case float():
            return float(value) if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
        case Piece():
            if value.values.dtype not in STORED_DTYPES:
                raise TypeError(f"state at {_show(path)} is in pieces of {value.values.dtype}")
            if not value.shape.numel():
                nothing = value.values.new_empty(value.shape)
                return {"$tensor": taken.keep(nothing, path, path)}
            return {"$tensor": taken.keep_piece(value, path)}
        case Tensor():
            if value.layout != torch.strided or value.is_quantized or value.is_meta:
                raise TypeError(f"state at {_show(path)} is a {value.layout} {value.device} tensor")
            if value.dtype in STORED_DTYPES:
                return {"$tensor": taken.keep(value, path, _identity(value) if value.numel() else path)}
            dtype = str(value.dtype).removeprefix("torch.")
            if dtype not in _RAW_DTYPES:
                raise TypeError(f"state at {_show(path)} is a tensor of {dtype}")
            raw = as_bytes(value.detach().resolve_conj().cpu().contiguous())
            return {"$raw": [taken.keep(raw, path, path), dtype, list(value.shape)]}
        case np.ndarray():
            if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
                raise TypeError(f"state at {_show(path)} is an array of {value.dtype}")
            native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
            return {"$array": taken.keep(torch.from_numpy(native), path, path)}
        case list() | tuple():
            return [_encode(item, (*path, str(i)), taken) for i, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"state at {_show(path)} has the key {key!r}, which is not a string")
            inner = {key: _encode(item, (*path, key), taken) for key, item in value.items()}
            return {"$dict": inner} if any(key.startswith("$") for key in inner) else inner
    raise TypeError(f"state at {_show(path)} is a {type(value).__name__}, which a checkpoint cannot keep")


def _identity(tensor: Tensor) -> object:
    place = (str(tensor.device), tensor.data_ptr(), tensor.is_neg())
    return place, tensor.dtype, tensor.shape, tensor.stride()


def _to_host(tensor: Tensor, *, copy: bool) -> Tensor:
    host = tensor.detach().resolve_neg().to("cpu").contiguous()
    shared = host.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    return host.clone() if copy and shared else host


def _name(path: tuple[str, ...]) -> str:
    """One name per path: parts joined by ``/``, with ``~`` and ``/`` inside a part escaped."""
    name = "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
    return "~2" if name == "__metadata__" else name


def _show(path: tuple[str, ...]) -> str:
    return "/".join(path) or "the top"
