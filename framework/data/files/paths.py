"""Finds data files and checks that they are what was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

from framework.errors import DataError
from framework.paths import exists, expanded, is_file, is_folder

_ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


def existing_file(path: str | Path) -> Path:
    """The path of a file that exists.

    Raises:
        DataError: it does not, or it is a folder.
    """
    found = expanded(path)
    if is_folder(found):
        raise DataError(f"{found} is a folder, not a file; name the file itself")
    if not exists(found):
        raise DataError(_missing(found))
    return found


def existing_folder(path: str | Path) -> Path:
    """The path of a folder that exists.

    Raises:
        DataError: it does not, or it is a file.
    """
    found = expanded(path)
    if is_file(found):
        raise DataError(f"{found} is a file, not a folder; name the folder that holds the data")
    if not exists(found):
        raise DataError(_missing(found))
    return found


def _missing(path: Path) -> str:
    """Says how far the path exists, because the mistake is usually one folder."""
    parent = next(p for p in path.absolute().parents if exists(p))
    where = f" (the folder {parent} does)" if path.absolute().parent != parent else ""
    return (
        f"{path} does not exist{where}; put the data there or correct the path in the data section"
        " (relative paths start at the working directory)"
    )


def verify(path: Path, checksum: str) -> None:
    """Compare the file with a checksum ``md5:…`` or ``sha256:…``.

    Raises:
        ValueError: the checksum is not written that way.
        DataError: the file has another one.
    """
    algorithm, _, wanted = checksum.partition(":")
    if algorithm not in _ALGORITHMS or not wanted:
        raise ValueError(f"checksum '{checksum}' must be ALGORITHM:HEX with one of {', '.join(_ALGORITHMS)}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != wanted.lower():
        raise DataError(
            f"{path} has {algorithm} {found}, but the configuration says {wanted};"
            " the file is damaged or another version: fetch it again or correct `checksums`"
        )
