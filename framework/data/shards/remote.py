"""Shards on a server or in an object store, read through a cache on this machine."""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.shards.cache import Cache
from framework.data.shards.download import is_remote
from framework.data.shards.index import parse_index
from framework.data.shards.manifest import FILE, Manifest, Shard, parse_manifest
from framework.data.shards.store import LocalStore, ShardStore
from framework.errors import DataError, UserError

#: shards fetched before they are needed
_MOST_AHEAD = 32


class RemoteStore(ShardStore):
    """Shards named by URLs, or relative to one; files of this machine are read where they lie.

    Args:
        base: the folder or URL that relative file names start at.
        cache: holds the copies.
    """

    fetches_ahead = True

    def __init__(self, base: str, cache: Cache) -> None:
        self.base = base
        self.cache = cache
        self._ahead = _Ahead(self._prefetch)

    def url(self, shard: Shard) -> str:
        """Where the shard is."""
        if is_remote(shard.file) or not is_remote(self.base):
            return shard.file
        return f"{self.base.rstrip('/')}/{shard.file}"

    def local(self, shard: Shard) -> Path:
        """A copy in the cache."""
        if not is_remote(self.url(shard)):
            return LocalStore(Path(self.base)).local(shard)
        return self.cache.copy(self.url(shard), shard.bytes, shard.sha256)

    def map(self, shard: Shard) -> mmap.mmap:
        """The content of a copy, which stays in the cache while this is alive."""
        if not is_remote(self.url(shard)):
            return LocalStore(Path(self.base)).map(shard)
        return self.cache.mapped(self.url(shard), shard.bytes, shard.sha256)

    def upcoming(self, shards: Sequence[Shard]) -> None:
        """Fetch them in the background, in this order; what was wanted before is forgotten."""
        half = None if self.cache.limit is None else self.cache.limit // 2
        wanted: list[Shard] = []
        size = 0
        for shard in shards[:_MOST_AHEAD]:
            size += shard.bytes
            if half is not None and size > half:
                break
            wanted.append(shard)
        self._ahead.want(wanted)

    def check(self, shards: Sequence[Shard]) -> None:
        """The files on this machine; of others nothing is known before they are read."""
        LocalStore(Path(self.base)).check([shard for shard in shards if not is_remote(self.url(shard))])

    def __getstate__(self) -> dict[str, Any]:
        return {"base": self.base, "cache": self.cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _prefetch(self, shard: Shard) -> None:
        url = self.url(shard)
        if is_remote(url) and not self.cache.has(shard.bytes, shard.sha256):
            self.cache.copy(url, shard.bytes, shard.sha256, wait=False)


class _Ahead:
    """A thread that works off what is wanted, and ends when nothing is."""

    def __init__(self, fetch: Callable[[Shard], None]) -> None:
        self._fetch = fetch
        self._wanted: deque[Shard] = deque()
        self._working = False
        self._lock = threading.Lock()

    def want(self, shards: Sequence[Shard]) -> None:
        """These are next, instead of what was wanted before."""
        with self._lock:
            self._wanted = deque(shards)
            if self._wanted and not self._working:
                self._working = True
                threading.Thread(target=self._work, name="shards ahead", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._working = False
                    return
                shard = self._wanted.popleft()
            # whoever needs the shard is told
            with contextlib.suppress(UserError):
                self._fetch(shard)


def remote_manifest(url: str, cache: Cache) -> Manifest:
    """The manifest of the remote folder `url`.

    Raises:
        DataError: it cannot be had, or is none.
    """
    place = f"{url.rstrip('/')}/{FILE}"
    return parse_manifest(cache.source.content(place), place)


def remote_index(url: str, manifest: Manifest, cache: Cache) -> dict[str, np.ndarray]:
    """The arrays of the index of the remote folder `url`, mapped from a copy.

    Raises:
        DataError: it cannot be had, or the manifest names none.
    """
    if manifest.index is None:
        raise DataError(f"{url}: the manifest names no index; write both with python -m framework shards")
    place = f"{url.rstrip('/')}/{manifest.index.file}"
    content = cache.mapped(place, manifest.index.bytes, manifest.index.sha256)
    return parse_index(np.frombuffer(content, np.uint8), Path(place))[0]
