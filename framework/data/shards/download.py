"""Reads remote files piece by piece: what is dropped goes on where it stopped, a bounded number of times."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from framework.errors import DataError

#: bytes asked for at once; what is lost with a dropped connection
_PIECE = 4 * 2**20
#: seconds after the first failure, doubled after each further one, up to the second number
_WAITS = (0.5, 20.0)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_remote(name: str) -> bool:
    """Whether `name` is a URL, of anything but a local file."""
    found = _URL.match(name)
    return found is not None and found[1] != "file"


@dataclass(frozen=True)
class Source:
    """How remote files are read.

    Attributes:
        attempts: how often in a row reading may fail before it is given up.
        timeout_seconds: how long a server may be silent.
    """

    attempts: int = 5
    timeout_seconds: float = 30.0

    def content(self, url: str) -> bytes:
        """A small file as a whole.

        Raises:
            DataError: it cannot be had.
        """
        files, path = _opened(url, self.timeout_seconds)
        content: bytes = self._had(url, files.cat_file, path)
        return content

    def save(self, url: str, path: Path) -> None:
        """Write the file at `url`, of which nothing is known yet, to `path`.

        Raises:
            DataError: it cannot be had.
            OSError: `path` cannot be written.
        """
        files, place = _opened(url, self.timeout_seconds)
        size: int | None = self._had(url, files.size, place)
        with path.open("wb") as file:
            if size is None:
                file.write(self._had(url, files.cat_file, place))
            for start in range(0, size or 0, _PIECE):
                file.write(self._had(url, _piece, files, place, start, size))

    def fill(self, file: BinaryIO, url: str, size: int, sha256: str) -> None:
        """Append to `file`, open for reading and appending, what it lacks of the `size` bytes at `url`.

        Raises:
            DataError: they cannot be had, or are not those of the checksum; `file` then holds nothing wrong.
            OSError: the disk is full.
        """
        files, path = _opened(url, self.timeout_seconds)
        # Wrong once it may have been the way here; twice it is another file.
        for _ in range(2):
            while (have := file.seek(0, 2)) < size:
                file.write(self._had(url, _piece, files, path, have, size))
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:  # type: ignore[arg-type]
                return
            file.truncate(0)
        raise DataError(f"{url}: read twice, and its SHA-256 is not that of the manifest")

    def _had(self, url: str, read: Callable[..., Any], *arguments: object) -> Any:
        """What `read` gives, asked again when it fails.

        Raises:
            DataError: it is not there, or failed too often in a row.
        """
        reason = ""
        for failures in range(self.attempts):
            _wait(failures)
            try:
                return read(*arguments)
            except (FileNotFoundError, PermissionError) as error:
                raise DataError(f"{url}: {_said(error)}") from error
            except Exception as error:  # every file system has errors of its own
                reason = _said(error)
        raise DataError(f"{url}: {self.attempts} attempts failed, the last: {reason}")


def _piece(files: Any, path: str, start: int, size: int) -> bytes:
    """The next bytes from `start` on of a file of `size` bytes.

    Raises:
        OSError: fewer came than were asked for.
    """
    stop = min(start + _PIECE, size)
    piece: bytes = files.cat_file(path, start=start, end=stop)
    if len(piece) == size > stop - start:
        piece = piece[start:]  # a server that knows no ranges sends everything
    elif len(piece) != stop - start:
        raise OSError(f"bytes {start:,} to {stop:,} were asked for, {len(piece):,} bytes came")
    return piece


def _opened(url: str, timeout_seconds: float) -> tuple[Any, str]:
    """The file system of `url` in this process, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise DataError(f"{url}: remote files need: pip install 'framework[remote]'") from error
    protocol = url.partition("://")[0]
    options: dict[str, Any] = {}
    try:
        if protocol in ("http", "https"):
            import aiohttp

            silence = aiohttp.ClientTimeout(
                total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds
            )
            options = {"client_kwargs": {"timeout": silence}}
        files = fsspec.filesystem(protocol, **options)
    except (ImportError, ValueError) as error:
        advice = {"s3": "pip install s3fs", "gs": "pip install gcsfs", "gcs": "pip install gcsfs"}
        advice |= dict.fromkeys(("http", "https"), "pip install 'framework[remote]'")
        raise DataError(f"{url}: {error}; {advice.get(protocol, 'see the protocols of fsspec')}") from error
    return files, url if protocol in ("http", "https") else files._strip_protocol(url)


def _wait(failures: int) -> None:
    if failures:
        time.sleep(min(_WAITS[0] * 2 ** (failures - 1), _WAITS[1]))


def _said(error: Exception) -> str:
    """An error in a line; some have no text."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
