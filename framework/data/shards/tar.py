"""Tar files as blocks of 512 bytes: headers are written by the standard library and read by arithmetic."""

from __future__ import annotations

import mmap
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 512
#: what closes an archive: two empty blocks, padded to a record
RECORD = tarfile.RECORDSIZE
_EMPTY = bytes(BLOCK)
_REGULAR = np.frombuffer(b"\x0007", np.uint8)
#: what says something of the next member: PAX headers, GNU's long names and links
_SPECIAL = frozenset(b"xgLK")
#: names that webdataset passes over
_META = re.compile(r"__[^/]*__($|/)")


class TarError(Exception):
    """A file is not a whole tar archive; the message says where it stops being one."""


@dataclass(frozen=True)
class Members:
    """The regular files of an archive, in order.

    Attributes:
        names: one each.
        offsets: where the content of each starts, in bytes.
        sizes: bytes of each.
    """

    names: list[str]
    offsets: list[int]
    sizes: list[int]


def member(name: str, content: bytes) -> bytes:
    """Header, content and padding of one file; a function of the two alone (time, owner and mode are fixed).

    Raises:
        ValueError: the name is longer than 100 bytes of ASCII.
    """
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return b"".join((header, content, bytes(-len(content) % BLOCK)))


def padded(size: int) -> int:
    """Bytes that a file of `size` bytes takes in an archive, header included."""
    return BLOCK + size + -size % BLOCK


def ending(size: int) -> bytes:
    """What follows the members of an archive of `size` bytes so far."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)


def mapped(path: Path) -> mmap.mmap:
    """The file as memory, read when touched.

    Raises:
        OSError: as the system says.
        TarError: the file is empty.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise TarError("the file is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def scan(content: mmap.mmap | bytes) -> Members:
    """All regular files of an archive; names as `tarfile` gives them (ustar, GNU and PAX long ones).

    Raises:
        TarError: a header is broken, or the archive ends inside a member or without its end mark.
    """
    # Where a header lies follows from all before it, so that much is a loop; the rest is done in bulk.
    headers: list[int] = []
    sizes: list[int] = []
    long_names: dict[int, str] = {}
    known: dict[bytes, int] = {}
    pax: dict[str, str] = {}
    position, end = 0, len(content)
    while True:
        field = content[position + 124 : position + 136]
        size = known.get(field, -1)
        if size < 0:
            if position + BLOCK > end:
                if headers:
                    _check_end(content, headers[-1], sizes[-1])
                last = f" after {_names(content, headers[-1:])[0]}" if headers else ""
                raise TarError(f"cut off at byte {end}{last}: the end mark is missing")
            if content[position : position + BLOCK] == _EMPTY:
                break
            size = _size(field, position)
            if any(field):
                known[field] = size
        kind = content[position + 156]
        start = position + BLOCK
        if kind in _SPECIAL:
            _check_end(content, position, size)
            if kind == ord("x"):
                pax |= _pax(content[start : start + size])
            elif kind == ord("L"):
                pax["path"] = (
                    content[start : start + size].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                )
        elif pax:
            size = int(pax.get("size", size))
            if "path" in pax:
                long_names[len(headers)] = pax["path"]
            pax = {}
        headers.append(position)
        sizes.append(size)
        position = start + size + -size % BLOCK
    regular = _checked(content, headers)
    names = _names(content, headers)
    for number, name in long_names.items():
        names[number] = name
    chosen = range(len(headers)) if regular.all() else np.flatnonzero(regular).tolist()
    return Members(
        [names[k] for k in chosen], [headers[k] + BLOCK for k in chosen], [sizes[k] for k in chosen]
    )


def group(members: Members) -> Iterator[tuple[str, dict[str, int]]]:
    """(key, extension -> number of the member) of each sample, as webdataset groups them.

    The key is the path up to the first dot of the file name, the extension what follows, in lower case;
    neighbours of the same key are one sample.

    Raises:
        TarError: an extension comes twice in a sample.
    """
    current: str | None = None
    found: dict[str, int] = {}
    for number, name in enumerate(members.names):
        folder, slash, file = name.rpartition("/") if "/" in name else ("", "", name)
        stem, _, extension = file.partition(".")
        if not stem or len(stem) == len(file) or (name.startswith("__") and _META.match(name)):
            continue
        key = folder + slash + stem if slash else stem
        if key != current:
            if current is not None:
                yield current, found
            current, found = key, {}
        extension = extension.lower()
        if extension in found:
            raise TarError(f"two members {name}: webdataset takes the key up to the first dot as the sample")
        found[extension] = number
    if current is not None:
        yield current, found


def key_before(content: memoryview, offset: int) -> str:
    """Key of the sample whose member starts at `offset`, for messages; a long name may be cut."""
    (name,) = _names(bytes(content[offset - BLOCK : offset]), [0])
    return next((key for key, _ in group(Members([name], [0], [0]))), name)


def _blocks(content: mmap.mmap | bytes, positions: list[int]) -> Iterator[np.ndarray]:
    """The blocks (k, 512) at `positions`, in slices, so that memory stays small."""
    blocks = np.frombuffer(content, np.uint8, len(content) // BLOCK * BLOCK).reshape(-1, BLOCK)
    for first in range(0, len(positions), 4096):
        yield blocks[np.array(positions[first : first + 4096]) // BLOCK]


def _names(content: mmap.mmap | bytes, headers: list[int]) -> list[str]:
    """The names that stand in the headers themselves."""
    names: list[str] = []
    for rows in _blocks(content, headers):
        raw = rows[:, :100].copy().view("S100").ravel().tolist()
        # GNU archives have two blanks after `ustar` and use the prefix for something else
        prefixed = (rows[:, 345] != 0) & (rows[:, 257:263] == np.frombuffer(b"ustar\0", np.uint8)).all(axis=1)
        for number in np.flatnonzero(prefixed).tolist():
            prefix = rows[number, 345:500].tobytes().split(b"\0", 1)[0]
            raw[number] = prefix + b"/" + raw[number]
        names += [name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape") for name in raw]
    return names


def _size(field: bytes, position: int) -> int:
    """Octal digits, or the number itself after a marked byte in archives of huge files."""
    try:
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise TarError(f"no tar header at byte {position}") from None


def _check_end(content: mmap.mmap | bytes, header: int, size: int) -> None:
    """Raises TarError if the member with this header goes on after the end of the file."""
    there = len(content) - header - BLOCK
    if size > there:
        raise TarError(
            f"cut off inside {_names(content, [header])[0]}: {there} of its {size} bytes are there"
        )


def _pax(content: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header."""
    values = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(content):
            raise TarError("a PAX header that is not one")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        values[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        content = content[int(length) :]
    return values


def _checked(content: mmap.mmap | bytes, headers: list[int]) -> np.ndarray:
    """Which headers (n,) are of regular files, all having the checksum that stands in them.

    Raises:
        TarError: one has not.
    """
    octal = 8 ** np.arange(5, -1, -1)
    regular = []
    for number, rows in enumerate(_blocks(content, headers)):
        stated = rows[:, 148:154].astype(np.int64)
        # blanks lead in old archives and count as zeros
        stated = np.where((stated >= 48) & (stated < 56), stated - 48, 0) @ octal
        sums = rows.sum(axis=1, dtype=np.int64) - rows[:, 148:156].sum(axis=1, dtype=np.int64) + 8 * 32
        wrong = np.flatnonzero(sums != stated)
        if len(wrong):
            raise TarError(f"damaged header at byte {headers[4096 * number + int(wrong[0])]}")
        regular.append(np.isin(rows[:, 156], _REGULAR))
    return np.concatenate([*regular, np.zeros(0, bool)])
