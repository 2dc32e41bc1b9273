"""Files that survive a kill and a power cut: written whole, flushed to the disk, named last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError

#: bytes handed to the system at once; a signal is seen between two of them
CHUNK = 8 << 20

Buffer = bytes | memoryview


@dataclass(frozen=True)
class FileDigest:
    """What a file must be: its size in bytes and the SHA-256 of its content, in hex."""

    size: int
    sha256: str


def write_file(path: Path, chunks: Iterable[Buffer]) -> FileDigest:
    """Write `chunks` to a new or emptied file and flush it to the disk; one pass over the data.

    Raises:
        OSError: as the system says.
    """
    digest = hashlib.sha256()
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        for chunk in chunks:
            rest = memoryview(chunk).cast("B") if len(chunk) else memoryview(b"")
            size += len(rest)
            while len(rest):
                part = rest[:CHUNK]
                digest.update(part)
                while len(part):
                    part = part[os.write(descriptor, part) :]
                rest = rest[CHUNK:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return FileDigest(size, digest.hexdigest())


def digest_file(path: Path) -> FileDigest:
    """The digest of a file as it is now.

    Raises:
        OSError: as the system says.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileDigest(file.tell(), digest.hexdigest())


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk: a rename survives a power cut only after this.

    Raises:
        OSError: as the system says.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, chunks: Iterable[Buffer]) -> None:
    """Give `path` a new content such that a reader, now or after a crash, finds the old or the new one.

    Raises:
        OSError: as the system says; `path` is then as it was.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        write_file(temporary, chunks)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """`replace_file` for a text; a name of a file that is no UTF-8 is written with escapes.

    Raises:
        OSError: as the system says; `path` is then as it was.
    """
    replace_file(path, [text.encode(errors="backslashreplace")])


def to_json(value: Any) -> bytes:
    """`value` as indented JSON; floats keep every bit, NaN and infinities are refused."""
    return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, what the system refuses is told to the user.

    Raises:
        UserError: `path` cannot be read or written, and why.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
