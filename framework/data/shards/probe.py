"""What shards of another program hold, learnt from their first sample."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from framework.data.shards import tar
from framework.data.shards.content import ShardContent
from framework.data.shards.decode import DECODERS, array_header, kind_of
from framework.data.shards.manifest import InputField
from framework.data.shards.metadata import SINGLE, read_facts
from framework.data.shards.tar import TarError
from framework.errors import DataError


def first_sample(path: Path) -> dict[str, int]:
    """Extension -> number of the member, of the first sample in the shard at `path`.

    Raises:
        DataError: the shard cannot be read or holds no sample.
    """
    try:
        members = tar.scan(tar.mapped(path))
        first = next(tar.group(members), None)
    except (OSError, TarError) as error:
        raise DataError(f"shard {path}: {error}") from error
    if first is None:
        raise DataError(f"shard {path}: holds no sample (a file whose name has an extension)")
    return first[1]


def input_member(path: Path, sample: Mapping[str, int]) -> str:
    """The extension of the member to learn from: the first image, else array, tensor or text.

    Raises:
        DataError: `sample`, of the shard at `path`, has none of them.
    """
    refused = []
    found: dict[str, str] = {}
    for extension in sample:
        try:
            found.setdefault(kind_of(extension), extension)
        except ValueError as error:
            if extension not in SINGLE:
                refused.append(str(error))
    for kind in ("image", "array", "tensor", "text"):
        if kind in found:
            return found[kind]
    listed = ", ".join(f".{extension}" for extension in sample)
    raise DataError(
        f"shard {path}: no member can be the input ({listed}); {'; '.join(refused) or 'give --input'}"
    )


def label_of(path: Path, sample: Mapping[str, int]) -> str:
    """Where the label is: the member `cls`, else the key `label` of the .json member.

    Raises:
        DataError: `sample`, of the shard at `path`, has neither.
    """
    if "cls" in sample:
        return "cls"
    if "json" in sample and read_facts(path, ["label"])[0].values[0] is not None:
        return "label"
    raise DataError(
        f"shard {path}: no member .cls and no key 'label' in .json; say where labels are: --label KEY"
    )


def field_of(path: Path, contents: Sequence[ShardContent], member: str) -> InputField:
    """How the inputs of all shards are stored, as the first sample says it.

    Args:
        path: the first shard.
        contents: of all shards.
        member: extension of the inputs.

    Raises:
        DataError: the first sample cannot be decoded.
    """
    kind = kind_of(member)
    arrays = contents[0].arrays
    start, size = int(arrays[f"offset.{member}"][0]), int(arrays[f"size.{member}"][0])
    content = tar.mapped(path)[start : start + size]
    try:
        if kind == "image":
            return _image_field(member, content)
        if kind == "text":
            longest = max(int(one.arrays[f"size.{member}"].max(initial=1)) for one in contents)
            return InputField(member=member, kind="text", dtype="uint8", shape=(longest,))
        if kind == "array":
            _, dtype, shape = array_header(content)
        else:
            dtype, shape = _decoded(member, kind, content)
    except ValueError as error:
        raise DataError(f"shard {path}, sample {contents[0].keys[0]}: .{member} {error}") from error
    scale = 255 if dtype == np.uint8 and len(shape) >= 2 else 1
    return InputField.model_validate(
        {"member": member, "kind": kind, "dtype": dtype.name, "shape": shape, "scale": scale}
    )


def _image_field(member: str, content: bytes) -> InputField:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            channels = 1 if image.mode in ("1", "L", "I", "I;16") else 3
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded as an image: {error}") from error
    return InputField(member=member, kind="image", dtype="uint8", shape=(channels, height, width), scale=255)


def _decoded(member: str, kind: str, content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of a member that says them only when it is decoded."""
    probe = InputField.model_validate({"member": member, "kind": kind, "dtype": "float32", "shape": ()})
    numbers = DECODERS[kind](content, probe, None)
    return numbers.dtype, numbers.shape
