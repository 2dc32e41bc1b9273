"""What one tar file holds, found by reading it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from framework.data.shards import tar
from framework.data.shards.tar import TarError
from framework.errors import DataError


@dataclass(frozen=True)
class ShardContent:
    """A whole shard, read once.

    Attributes:
        bytes: size of the file.
        sha256: of the file, in hex.
        keys: name of each sample.
        arrays: `offset.MEMBER` (int64), `size.MEMBER` (int64) and `crc32.MEMBER` (uint32) of the samples
            (samples,), for each member asked for; 0 where a sample has no such member.
    """

    bytes: int
    sha256: str
    keys: list[str]
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.keys)


def read_content(path: Path, members: Sequence[str]) -> ShardContent:
    """Checksum, samples and the places of `members` in the shard at `path`.

    Raises:
        DataError: it cannot be read, or is not a whole tar file.
    """
    try:
        content = tar.mapped(path)
    except (OSError, TarError) as error:
        raise DataError(f"shard {path}: {getattr(error, 'strerror', None) or error}") from error
    view = memoryview(content)
    try:
        found = tar.scan(content)
        samples = list(tar.group(found))
    except TarError as error:
        raise DataError(f"shard {path}: {error}") from error
    arrays = {}
    for member in members:
        places = [extensions.get(member, -1) for _, extensions in samples]
        offsets = [found.offsets[place] if place >= 0 else 0 for place in places]
        sizes = [found.sizes[place] if place >= 0 else 0 for place in places]
        sums = [zlib.crc32(view[start : start + size]) for start, size in zip(offsets, sizes, strict=True)]
        arrays[f"offset.{member}"] = np.array(offsets, np.int64)
        arrays[f"size.{member}"] = np.array(sizes, np.int64)
        arrays[f"crc32.{member}"] = np.array(sums, np.uint32)
    digest = hashlib.sha256(view).hexdigest()
    return ShardContent(len(content), digest, [key for key, _ in samples], arrays)


def joined(contents: Sequence[ShardContent]) -> dict[str, np.ndarray]:
    """The arrays of all samples of several shards, in as few bytes as they need."""
    arrays = {}
    for name in contents[0].arrays:
        array = np.concatenate([content.arrays[name] for content in contents])
        fits = not len(array) or int(array.max()) < 2**32
        arrays[name] = array.astype(np.uint32 if fits else np.uint64)
    return arrays
