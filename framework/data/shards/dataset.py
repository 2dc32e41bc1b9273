"""One split of samples in shards, read through memory maps by their offsets."""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import Inputs
from framework.data.dataset import Column, Dataset
from framework.data.faults import BadSampleError
from framework.data.shards.decode import array_header, decode
from framework.data.shards.index import Arrays
from framework.data.shards.manifest import InputField, Manifest, Shard
from framework.data.shards.store import ShardStore
from framework.data.shards.tar import key_before
from framework.errors import DataError

#: shards kept mapped at once; each holds a file descriptor, of which a process has about a thousand
_MOST_OPEN = 256


class ShardDataset(Dataset):
    """Samples of a manifest.

    Args:
        manifest: shapes and names.
        shards: the files of this split, in order.
        arrays: the arrays of the split in the index.
        store: gives the files.
        size: height and width that images are scaled to; None leaves them.
        check: compare the checksum of every input that is read.
        chosen: (samples,) int64 stored positions of the samples; None for all, as stored.
    """

    def __init__(
        self,
        manifest: Manifest,
        shards: Sequence[Shard],
        arrays: Arrays,
        store: ShardStore,
        *,
        size: int | None = None,
        check: bool = False,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.manifest = manifest
        self.shards = shards
        self.arrays = arrays
        self.store = store
        self.size = size
        self.check = check
        self.chosen = chosen
        self.ends = np.cumsum([shard.samples for shard in shards], dtype=np.int64)
        self.spec = manifest.spec
        self.columns = {
            name: Column(self._stored(f"column.{name}").astype(np.int64), names)
            for name, names in manifest.columns.items()
        }
        self.extra = {name: np.array(self._stored(f"extra.{name}")) for name in manifest.extra}
        self.targets: Tensor | None = None
        if manifest.target is None and self.spec.num_classes is None:
            self.targets = torch.from_numpy(self._stored("target").astype(np.float32))
        elif manifest.target is None:
            self.targets = torch.from_numpy(self.columns["label"].values)
        self._open: OrderedDict[int, memoryview] = OrderedDict()
        #: of an input: the header all its arrays share, found in the first one
        self._headers: dict[str, bytes] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.chosen is None else len(self.chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Decoded inputs (k, ...) and targets (k, ...) at `positions`; the epoch makes no difference.

        Raises:
            BadSampleError: a sample cannot be decoded or is not what the manifest says, or a whole shard
                cannot be had.
        """
        stored = positions if self.chosen is None else self.chosen[positions]
        numbers = np.searchsorted(self.ends, stored, side="right").tolist()
        inputs = {
            name: self._read(name, field, stored, numbers) for name, field in self.manifest.inputs.items()
        }
        if self.manifest.target is not None:
            targets = self._read("target", self.manifest.target, stored, numbers)
        else:
            assert self.targets is not None
            targets = self.targets.index_select(0, torch.from_numpy(positions))
        return inputs.get("", inputs), targets

    def select(self, positions: np.ndarray) -> ShardDataset:
        """The samples at `positions`; nothing is read."""
        chosen = positions if self.chosen is None else self.chosen[positions]
        return ShardDataset(
            self.manifest, self.shards, self.arrays, self.store,
            size=self.size, check=self.check, chosen=chosen,
        )  # fmt: skip

    @property
    def fetches_ahead(self) -> bool:
        """Whether the store does."""
        return self.store.fetches_ahead

    def upcoming(self, positions: np.ndarray) -> None:
        """Tells the store of the shards."""
        stored = positions if self.chosen is None else self.chosen[positions]
        numbers = np.searchsorted(self.ends, stored, side="right")
        self.store.upcoming([self.shards[number] for number in dict.fromkeys(numbers.tolist())])

    def identity(self) -> bytes:
        """A hash of what the manifest says of the shards, and of which samples these are."""
        digest = hashlib.sha256(repr((self.manifest.inputs, self.manifest.target, self.size)).encode())
        for shard in self.shards:
            digest.update(shard.sha256.encode())
        if self.chosen is not None:
            digest.update(self.chosen.tobytes())
        if self.targets is not None:
            digest.update(self.targets.numpy().tobytes())
        return digest.digest()

    def runs(self) -> np.ndarray:
        """Where each run of samples of one shard starts."""
        if self.chosen is None:
            starts = self.ends - [shard.samples for shard in self.shards]
            return starts[np.diff(self.ends, prepend=0) > 0]
        shards = np.searchsorted(self.ends, self.chosen, side="right")
        return np.flatnonzero(np.diff(shards, prepend=-1)).astype(np.int64)

    def _stored(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        return array if self.chosen is None else array[self.chosen]

    def _read(self, name: str, field: InputField, stored: np.ndarray, numbers: list[int]) -> Tensor:
        """The input `name` (k, ...) of the samples at `stored` (k,), in shards `numbers`."""
        offsets = self.arrays[f"offset.{field.member}"][stored]
        sizes = self.arrays[f"size.{field.member}"][stored]
        starts = offsets.tolist()
        maps = {number: self._map(number) for number in set(numbers)}
        pieces = [
            maps[number][start : start + length]
            for number, start, length in zip(numbers, starts, sizes.tolist(), strict=True)
        ]
        if self.check:
            wanted = self.arrays[f"crc32.{field.member}"][stored].tolist()
            for place, (piece, crc) in enumerate(zip(pieces, wanted, strict=True)):
                if zlib.crc32(piece) != crc:
                    raise self._bad(stored, numbers, starts, place, "its bytes are not those of the index")
        numbers_read = self._together(name, field, pieces, sizes) if field.kind == "array" else None
        if numbers_read is None:
            numbers_read = np.stack(
                [self._decoded(field, stored, numbers, starts, k, piece) for k, piece in enumerate(pieces)]
            )
        return _as_tensor(numbers_read, field)

    def _together(
        self, name: str, field: InputField, pieces: list[memoryview], sizes: np.ndarray
    ) -> np.ndarray | None:
        """Arrays of one size and header in one go; None if they are not that, or not as they should be."""
        header = self._headers.get(name)
        if header is None:
            try:
                length, dtype, shape = array_header(bytes(pieces[0]))
            except ValueError:
                return None
            if dtype != np.dtype(field.dtype) or shape != field.shape:
                return None
            header = self._headers[name] = bytes(pieces[0][:length])
        dtype = np.dtype(field.dtype)
        size = len(header) + int(np.prod(field.shape, dtype=np.int64)) * dtype.itemsize
        joined = bytearray().join(pieces)
        if len(joined) != size * len(pieces) or not (sizes == size).all():
            return None
        rows = np.frombuffer(joined, np.uint8).reshape(len(pieces), size)
        if not (rows[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
            return None
        return rows[:, len(header) :].view(dtype).reshape(len(pieces), *field.shape)

    def _decoded(
        self,
        field: InputField,
        stored: np.ndarray,
        numbers: list[int],
        starts: list[int],
        place: int,
        piece: memoryview,
    ) -> np.ndarray:
        if not starts[place]:
            raise self._bad(stored, numbers, starts, place, f"has no member .{field.member}")
        try:
            return decode(bytes(piece), field, self.size)
        except ValueError as error:
            raise self._bad(stored, numbers, starts, place, f".{field.member} {error}") from error

    def _bad(
        self, stored: np.ndarray, numbers: list[int], starts: list[int], place: int, reason: str
    ) -> BadSampleError:
        shard = self.shards[numbers[place]]
        key = "?"
        if starts[place]:
            key = key_before(self._map(numbers[place]), starts[place])
        name = f"shard {shard.file}, sample {key} (number {int(stored[place])} of its split)"
        lost = stored[place : place + 1]
        return BadSampleError(
            name, reason, lost if self.chosen is None else np.flatnonzero(self.chosen == lost)
        )

    def _map(self, number: int) -> memoryview:
        """The content of a shard."""
        found = self._open.get(number)
        if found is None:
            shard = self.shards[number]
            try:
                found = memoryview(self.store.map(shard))
            except DataError as error:
                raise BadSampleError(f"shard {shard.file}", str(error), self._inside(number)) from error
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)
            self._open[number] = found
        else:
            self._open.move_to_end(number)
        return found

    def _inside(self, number: int) -> np.ndarray:
        """Positions of the samples of a shard."""
        stop = int(self.ends[number])
        start = stop - self.shards[number].samples
        if self.chosen is None:
            return np.arange(start, stop)
        return np.flatnonzero((self.chosen >= start) & (self.chosen < stop))


def _as_tensor(numbers: np.ndarray, field: InputField) -> Tensor:
    """Pixels and real numbers as float32, divided by the scale; other integers as int64."""
    tensor = torch.from_numpy(numbers)
    if field.kind == "image" or field.scale != 1 or numbers.dtype.kind == "f":
        tensor = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        return tensor.div_(field.scale) if field.scale != 1 else tensor
    return tensor.to(torch.int64, copy=True, memory_format=torch.contiguous_format)


def open_split(
    manifest: Manifest,
    arrays: Mapping[str, np.ndarray],
    split: str,
    store: ShardStore,
    *,
    names: Sequence[str] | None = None,
    size: int | None = None,
    check: bool = False,
) -> ShardDataset:
    """The samples of `split`, of all its shards or of those called `names`, in the manifest's order.

    Raises:
        ValueError: a name is not of a shard of the split.
        DataError: the index does not fit the manifest.
    """
    part = manifest.splits[split]
    for name, array in arrays.items():
        if len(array) != part.samples:
            raise DataError(
                f"the index has {len(array):,} entries of {split}/{name}, the manifest says"
                f" {part.samples:,} samples; python -m framework shards verify repairs it"
            )
    chosen = None
    if names is not None:
        unknown = sorted(set(names) - {shard.file for shard in part.shards})
        if unknown:
            raise ValueError(f"split '{split}' of the manifest has no shard {unknown[0]}")
        kept = np.repeat(
            [shard.file in set(names) for shard in part.shards], [s.samples for s in part.shards]
        )
        chosen = np.flatnonzero(kept)
    return ShardDataset(manifest, part.shards, arrays, store, size=size, check=check, chosen=chosen)
