"""From the bytes of a member to numbers. Nothing here can run code that a shard brings: no pickle."""

from __future__ import annotations

import io
import json
import tokenize
from collections.abc import Callable
from typing import Any

import numpy as np

from framework.data.files.images import eight_bits
from framework.data.shards.manifest import InputField

#: last part of an extension -> kind of member
KINDS = {
    "npy": "array",
    "png": "image",
    "jpg": "image",
    "jpeg": "image",
    "txt": "text",
    "safetensors": "tensor",
    "json": "json",
}
PICKLES = frozenset({"pyd", "pkl", "pickle", "pth", "pt", "ckpt", "joblib"})


def kind_of(extension: str) -> str:
    """How members with `extension` are decoded.

    Raises:
        ValueError: they are not, and why.
    """
    last = extension.rpartition(".")[2]
    if last in PICKLES:
        raise ValueError(
            f".{last} members are pickles: reading one runs whatever code it holds, so they are never read;"
            " write arrays as .npy or .safetensors"
        )
    if last not in KINDS:
        raise ValueError(f"members .{extension} cannot be decoded (known: {', '.join(sorted(KINDS))})")
    return KINDS[last]


def decode(content: bytes, field: InputField, size: int | None = None) -> np.ndarray:
    """The stored numbers of one member, in the shape of the field; images as (channels, height, width).

    Args:
        content: the bytes of the member.
        field: what it should hold.
        size: height and width that images are scaled to; None leaves them.

    Raises:
        ValueError: it does not hold that; the message does not name the sample.
    """
    found = DECODERS[field.kind](content, field, size)
    if found.shape != field.shape:
        raise ValueError(f"has shape {found.shape}, but the manifest says {field.shape}")
    if found.dtype != np.dtype(field.dtype):
        raise ValueError(f"holds {found.dtype} numbers, but the manifest says {field.dtype}")
    return found


def array_header(content: bytes) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """(bytes of the header, type, shape) of a .npy file.

    Raises:
        ValueError: it is none, holds Python objects, or its numbers are not in C order.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except (ValueError, SyntaxError, EOFError, tokenize.TokenError) as error:
        raise ValueError(f"is not a .npy file: {error}") from error
    if dtype.hasobject:
        raise ValueError(
            "holds Python objects, which are pickles and never read; write it with a number type"
        )
    if fortran and len(shape) > 1:
        raise ValueError("is in Fortran order; write it in C order")
    return file.tell(), dtype, shape


def _array(content: bytes, field: InputField, size: int | None) -> np.ndarray:
    start, dtype, shape = array_header(content)
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(content) - start != needed:
        raise ValueError(f"has {len(content) - start} bytes of numbers, its shape {shape} needs {needed}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def _image(content: bytes, field: InputField, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            mode = "L" if field.shape[0] == 1 else "RGB"
            converted = image if image.mode == mode else eight_bits(image).convert(mode)
            if size is not None and converted.size != (size, size):
                converted = converted.resize((size, size), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded as an image: {error}") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _text(content: bytes, field: InputField, size: int | None) -> np.ndarray:
    """UTF-8 bytes, cut or filled up with zeros to the length of the field."""
    (length,) = field.shape
    found = np.zeros(length, np.uint8)
    taken = np.frombuffer(content[:length], np.uint8)
    found[: len(taken)] = taken
    return found


def _tensor(content: bytes, field: InputField, size: int | None) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"is not a safetensors file: {error}") from error
    if len(tensors) != 1:
        raise ValueError(f"holds {len(tensors)} tensors ({', '.join(sorted(tensors))}), not one")
    return next(iter(tensors.values()))


def _json(content: bytes, field: InputField, size: int | None) -> np.ndarray:
    try:
        return np.asarray(json.loads(content), dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"is not a JSON list of numbers: {error}") from error


#: kind of member -> its reader, which takes (content, field, size)
DECODERS: dict[str, Callable[[bytes, InputField, int | None], np.ndarray]] = {
    "array": _array,
    "image": _image,
    "text": _text,
    "tensor": _tensor,
    "json": _json,
}
