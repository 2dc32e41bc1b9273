"""Reads documents: plain files, rows of TSV, CSV and JSONL files, and members of zip archives."""

from __future__ import annotations

import csv
import glob
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any

from framework.data.files.paths import existing_file
from framework.errors import DataError
from framework.naming import nearest
from framework.paths import expanded, is_folder

_ROWS = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class TextFile:
    """A file, or a member of a zip archive.

    Attributes:
        path: the file on the disk.
        member: name inside the archive, empty for a plain file.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def suffix(self) -> str:
        """Ending of the name, with the point."""
        return PurePath(self.member or self.path).suffix.lower()

    def text(self, encoding: str) -> str:
        """The whole content, with line ends as ``\\n``.

        Raises:
            DataError: it cannot be read, or is not text in this encoding.
        """
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive:
                    content = archive.read(self.member)
            else:
                content = self.path.read_bytes()
        except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self}: cannot be read: {error}") from error
        try:
            text = content.decode(encoding)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            line = content.count(b"\n", 0, start) + 1
            raise DataError(
                f"{self}, line {line}: not {encoding} (byte 0x{content[start]:02x});"
                " set `encoding` to what the file is in, e.g. latin-1"
            ) from error
        # Editors begin Unicode with a mark, which is no part of the text.
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        text: not empty.
        place: file and line, for messages.
        fields: the columns of its row.
    """

    text: str
    place: str
    fields: Mapping[str, str] = field(default_factory=dict)


def checked_encoding(encoding: str) -> str:
    """The encoding, if Python knows it as one of texts.

    Raises:
        ValueError: it does not.
    """
    try:
        "a".encode(encoding)
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"unknown encoding '{encoding}'; utf-8, latin-1 and cp1252 are common") from error
    return encoding


def find_files(reference: str) -> list[TextFile]:
    """The files that `reference` names, sorted.

    It is a file, a folder, a pattern with ``*``, a zip archive or ``FILE.zip:PATTERN``.

    Raises:
        DataError: there are none.
    """
    archive, colon, pattern = reference.partition(".zip:")
    if colon:
        return _members(existing_file(f"{archive}.zip"), pattern)
    if any(letter in reference for letter in "*?["):
        paths = [Path(p) for p in glob.glob(str(expanded(reference)), recursive=True)]  # noqa: PTH207
    elif is_folder(expanded(reference)):
        paths = list(expanded(reference).rglob("*"))
    else:
        paths = [existing_file(reference)]
    files = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
    if not files:
        raise DataError(f"{reference}: no file is there")
    return [file for path in files for file in (_members(path, "*") if _is_zip(path) else [TextFile(path)])]


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _members(path: Path, pattern: str) -> list[TextFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable zip archive: {error}; fetch it again") from error
    found = [name for name in names if fnmatch(name, pattern)]
    if not found:
        raise DataError(f"{path}: no member matches '{pattern}'{nearest(pattern, names)}")
    return [TextFile(path, name) for name in found]


def read_documents(
    file: TextFile, encoding: str, text: Sequence[str], skip_empty: bool = False
) -> Iterator[Document]:
    """The documents of a file: each row of a TSV, CSV or JSONL file, or else the whole of it.

    Args:
        file: whose suffix says its kind.
        encoding: of its bytes.
        text: columns that make up the text of a row, joined by a line end.
        skip_empty: leave out documents without a letter, instead of refusing them.

    Raises:
        DataError: the file is broken, has no such column, or a document is empty.
    """
    content = file.text(encoding)
    rows = _rows(file, content, text) if file.suffix in _ROWS else [Document(content, str(file))]
    for document in rows:
        if document.text.strip():
            yield document
        elif not skip_empty:
            raise DataError(f"{document.place}: empty text; remove it, or set skip_empty=true")


def _rows(file: TextFile, content: str, text: Sequence[str]) -> Iterator[Document]:
    """One document per row; the first line of a TSV or CSV file names the columns."""
    for line, row in _json_rows(file, content) if file.suffix == ".jsonl" else _csv_rows(file, content):
        missing = [name for name in text if name not in row]
        if missing:
            raise DataError(
                f"{file}, line {line}: no column '{missing[0]}'{nearest(missing[0], row)}"
                f" (columns: {', '.join(row)})"
            )
        yield Document("\n".join(row[name] for name in text), f"{file}, line {line}", row)


def _csv_rows(file: TextFile, content: str) -> Iterator[tuple[int, dict[str, str]]]:
    tabs = file.suffix == ".tsv"
    # a document may be a whole book; the limit is for the process, so it is only raised
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    lines = csv.reader(
        io.StringIO(content, newline=""),
        delimiter="\t" if tabs else ",",
        # Quotation marks in a tab-separated corpus belong to the text.
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
    )
    try:
        names = next(lines, None)
        if not names:
            raise DataError(f"{file}: the file is empty")
        for row in lines:
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"{file}, line {lines.line_num}: {len(row)} values, but there are {len(names)} columns"
                )
            yield lines.line_num, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{file}, line {lines.line_num}: not a readable table: {error}") from error


def _json_rows(file: TextFile, content: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, text in enumerate(content.split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(f"{file}, line {line}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {line}: expected an object with named values")
        if "\\ud" in text.lower() and not _is_unicode(row):
            raise DataError(f"{file}, line {line}: half of a surrogate pair, which stands for no letter")
        yield line, {name: _text_of(value) for name, value in row.items()}


def _is_unicode(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _text_of(value: Any) -> str:
    """A text as it is, nothing for null, JSON for anything else."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
