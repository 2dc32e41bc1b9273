"""A folder with copies of remote files, named by their checksum, that many processes and runs share."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.data.shards.download import Source
from framework.files import writing

logger = logging.getLogger("framework.data.cache")
_COPY, _PART = ".copy", ".part"


def default_folder() -> Path:
    """Where copies lie if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "framework" / "shards"


def byte_count(text: str) -> int:
    """The bytes that a text like `50GB` or `1.5 MB` means; the units are powers of ten.

    Raises:
        ValueError: it means none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?b?)", text.lower())
    if not found:
        raise ValueError(f"'{text}' is no size; write one like 256MB")
    return int(float(found[1]) * 1000 ** " kmgt".index(found[2].removesuffix("b") or " "))


class Cache:
    """Copies of files whose size and checksum are known.

    A file is fetched by one process under a lock, into a temporary name, checked and then renamed: a copy
    that exists is whole. A process that has mapped a copy holds a shared lock on it for as long as the map
    lives, and what is locked is never removed.

    Args:
        folder: made if it does not exist.
        limit: bytes that the copies may take together; the least recently used ones go. None is no limit.
        source: how files are read.
    """

    def __init__(self, folder: Path, limit: int | None, source: Source) -> None:
        self.folder = folder
        self.limit = limit
        self.source = source

    def has(self, size: int, sha256: str) -> bool:
        """Whether there is a copy; it counts as used."""
        path = self._path(sha256)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except OSError:
            return False
        return True

    def copy(self, url: str, size: int, sha256: str, *, wait: bool = True) -> Path:
        """The path of a copy of `url`, fetched if there is none; only `mapped` keeps it there.

        Args:
            url: where it is.
            size: in bytes.
            sha256: in hex.
            wait: for a process that is fetching it; else the path may not exist yet.

        Raises:
            DataError: the file cannot be had, or is another one.
            UserError: the folder cannot be written.
        """
        path = self._path(sha256)
        if self.has(size, sha256):
            return path
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._lock(sha256), wait=wait) as mine:
                if mine and not self.has(size, sha256):
                    self._make_room(size)
                    # what an earlier process left is a beginning of the same file
                    with path.with_suffix(_PART).open("a+b") as file:
                        self.source.fill(file, url, size, sha256)
                        file.flush()
                        os.fsync(file.fileno())
                    path.with_suffix(_PART).replace(path)
        return path

    def mapped(self, url: str, size: int, sha256: str) -> mmap.mmap:
        """The content of `url`, which stays in the cache while this is alive.

        Raises:
            DataError: the file cannot be had, or is another one.
            UserError: the folder cannot be written.
        """
        while True:
            path = self.copy(url, size, sha256)
            try:
                with path.open("rb") as file:
                    # the map keeps a descriptor of the same open file, and with it the lock
                    fcntl.flock(file, fcntl.LOCK_SH)
                    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except FileNotFoundError:
                continue  # removed between the two

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{_COPY}"

    def _lock(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.lock"

    def _make_room(self, size: int) -> None:
        """Remove the copies used longest ago until `size` bytes fit under the limit."""
        if self.limit is None:
            return
        with _locked(self.folder / "room.lock"):
            found = [path for path in self.folder.iterdir() if path.suffix in (_COPY, _PART)]
            states = sorted(((path.stat(), path) for path in found), key=lambda item: item[0].st_mtime)
            total = size + sum(state.st_size for state, _ in states)
            for state, path in states:
                if total <= self.limit:
                    return
                if self._removed(path):
                    total -= state.st_size
        if total > self.limit:
            logger.warning(
                "%s: what is in use takes %d bytes, over cache_size (%d)",
                self.folder,
                total,
                self.limit,
            )

    def _removed(self, path: Path) -> bool:
        """Remove a file unless somebody uses it."""
        if path.suffix == _PART:
            with _locked(self._lock(path.stem), wait=False) as mine:
                if mine:
                    path.unlink(missing_ok=True)
                return mine
        with _locked(path, wait=False) as mine:
            if mine:
                path.unlink()
            return mine


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock on `path`; without `wait` perhaps not, which it says."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
