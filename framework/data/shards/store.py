"""Where shards come from: whatever keeps them, readers get local files to map."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from framework.data.shards.manifest import Shard
from framework.data.shards.patterns import local_path
from framework.data.shards.tar import TarError, mapped
from framework.errors import DataError


class ShardStore(ABC):
    """Gives shards as local files.

    A reader calls `local` when it first needs a shard and maps the file; it keeps a few hundred files
    mapped and asks again for one that it let go. `upcoming` is called with shards in the order in which
    they will be needed, as far ahead as the order is known. A store is pickled into background processes
    and may be asked by several at once, so what it keeps on the disk must be written whole and named last.
    """

    #: whether `upcoming` does anything
    fetches_ahead = False

    @abstractmethod
    def local(self, shard: Shard) -> Path:
        """A local file with the whole content of `shard`.

        Raises:
            DataError: it cannot be had, or has another size than the manifest says.
        """

    def map(self, shard: Shard) -> mmap.mmap:
        """The content of `shard`, read when touched.

        Raises:
            DataError: it cannot be had.
        """
        path = self.local(shard)
        try:
            return mapped(path)
        except (OSError, TarError) as error:
            raise DataError(str(error)) from error

    def upcoming(self, shards: Sequence[Shard]) -> None:
        """These shards are needed next, in this order; called before `local`, and perhaps never."""

    def check(self, shards: Sequence[Shard]) -> None:
        """What can be known of `shards` without reading them.

        Raises:
            DataError: some cannot be had; names all of them.
        """


class LocalStore(ShardStore):
    """Shards on this machine's file system.

    Args:
        folder: what relative file names start at.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, shard: Shard) -> Path:
        """Where the file is, or should be."""
        return self.folder / local_path(shard.file)

    def local(self, shard: Shard) -> Path:
        """The file itself, if it has the right size."""
        fault = self._fault(shard)
        if fault:
            raise DataError(fault)
        return self.path(shard)

    def check(self, shards: Sequence[Shard]) -> None:
        """Every file exists and has the size of the manifest."""
        faults = [f"shard {self.path(shard)}: {fault}" for shard in shards if (fault := self._fault(shard))]
        if faults:
            more = f"\n  and {len(faults) - 10} more shards" if len(faults) > 10 else ""
            raise DataError(
                "\n  ".join([f"{len(faults)} bad shard{'s' * (len(faults) > 1)}:", *faults[:10]]) + more
            )

    def _fault(self, shard: Shard) -> str:
        path = self.path(shard)
        try:
            size = path.stat().st_size
        except OSError as error:
            return str(error.strerror or error)
        if size != shard.bytes:
            state = "cut off" if size < shard.bytes else "another file"
            return (
                f"{state}: {size:,} bytes, but the manifest says {shard.bytes:,} ({shard.samples:,} samples)"
            )
        return ""
