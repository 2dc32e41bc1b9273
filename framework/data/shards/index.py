"""The binary index of a folder of shards: per-sample arrays in one safetensors file, memory-mapped.

Arrays of a split are named `SPLIT/offset.MEMBER`, `SPLIT/size.MEMBER` and `SPLIT/crc32.MEMBER` (for each
input member), `SPLIT/column.NAME` (ids), `SPLIT/extra.NAME`, and `SPLIT/target` where targets are real
numbers. The metadata repeats the manifest, so that either file can be made again from the other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from framework.data.shards.manifest import IndexFile, Manifest
from framework.errors import DataError
from framework.files import FileDigest, writing

FILE = "index.safetensors"
_TYPES = {
    "I8": "i1", "U8": "u1", "I16": "i2", "U16": "u2", "I32": "i4", "U32": "u4", "I64": "i8", "U64": "u8",
    "F32": "f4", "F64": "f8",
}  # fmt: skip
Arrays = Mapping[str, np.ndarray]


def write_index(folder: Path, arrays: Arrays, manifest: Manifest) -> Manifest:
    """Write the index, then the manifest that names it; returns that manifest.

    Raises:
        UserError: the folder cannot be written.
    """
    from framework.files import replace_file

    text = json.dumps(manifest.model_copy(update={"index": None}).content())
    content = save(dict(sorted(arrays.items())), {"manifest": text})
    digest = _digest(content)
    named = manifest.model_copy(
        update={"index": IndexFile(file=FILE, bytes=digest.size, sha256=digest.sha256)}
    )
    with writing(folder / FILE):
        replace_file(folder / FILE, [content])
        named.write(folder)
    return named


def open_index(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read-only arrays that lie in the file until they are touched, and the manifest in its metadata.

    Raises:
        DataError: the file is missing or not an index.
    """
    try:
        # a plain array: slices of a memmap are slow to make
        whole = np.asarray(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError) as error:
        raise DataError(_unreadable(path, error)) from error
    return parse_index(whole, path)


def parse_index(whole: np.ndarray, path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays that lie in `whole` (bytes,), the content of `path`, and the manifest in its metadata.

    Raises:
        DataError: it is not an index.
    """
    try:
        length = struct.unpack("<Q", whole[:8].tobytes())[0]
        if length > len(whole) - 8:
            raise ValueError("the header is cut")
        header = json.loads(whole[8 : 8 + length].tobytes())
        content = whole[8 + length :]
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            if stop > len(content):
                raise ValueError(f"it ends inside {name}")
            arrays[name] = content[start:stop].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
        return arrays, str(metadata.get("manifest", ""))
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise DataError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} is not a readable index: {error}; make it again with:"
        f" python -m framework shards verify {path.parent}"
    )


def of_split(arrays: Arrays, split: str) -> dict[str, np.ndarray]:
    """The arrays of `split`, without its name in theirs."""
    start = f"{split}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def compact(ids: np.ndarray, num_values: int) -> np.ndarray:
    """Ids from -1 to `num_values` - 1 in as few bytes as they need."""
    small = next(t for t in (np.int8, np.int16, np.int32) if num_values <= np.iinfo(t).max)
    return ids.astype(small)


def _digest(content: bytes) -> FileDigest:
    import hashlib

    return FileDigest(len(content), hashlib.sha256(content).hexdigest())
