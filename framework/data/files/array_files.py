"""Reads arrays from NumPy archives and from the idx files of the MNIST family."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from framework.data.files.paths import existing_file
from framework.errors import DataError
from framework.naming import nearest

#: third byte of an idx file -> type of its numbers, which are big-endian
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_array(folder: Path, reference: str) -> np.ndarray:
    """The array that ``FILE.npz:KEY``, ``FILE.npy`` or ``FILE-idx3-ubyte.gz`` under `folder` names.

    Raises:
        DataError: the file is missing, broken, or has no such key.
    """
    name, colon, key = reference.rpartition(":")
    if not colon:
        name, key = reference, ""
    path = existing_file(folder / name)
    if path.suffix == ".npz":
        return _read_npz(path, key)
    if key:
        raise DataError(f"'{reference}': only a .npz file has keys; name the file alone")
    return _read_npy(path) if path.suffix == ".npy" else _read_idx(path)


def _read_npz(path: Path, key: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if key in archive:
                return np.asarray(archive[key])
            keys = list(archive)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise DataError(
            f"{path}: not a readable .npz file{f' at key {key}' if key else ''}: {error}"
        ) from error
    asked = f"no key '{key}'{nearest(key, keys)}" if key else f"name a key as '{path.name}:KEY'"
    raise DataError(f"{path}: {asked} (keys: {', '.join(keys)})")


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy file: {error}") from error


def _read_idx(path: Path) -> np.ndarray:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken or cut gzip file: {error}; fetch it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"{path}: not an idx file (nor .npz or .npy): it starts with {content[:4].hex(' ')}")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path}: cut inside the header: {len(content)} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(_IDX_TYPES[content[2]])
    wanted = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(content) != wanted:
        raise DataError(f"{path}: shape {shape} needs {wanted} bytes, the file has {len(content)}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
