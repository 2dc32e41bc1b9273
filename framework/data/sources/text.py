"""Texts for language modelling: files, folders, archives or tables, each document of one domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from framework.data.dataset import Column, Splits
from framework.data.text.blocks import Documents
from framework.data.text.documents import Document, TextFile, checked_encoding, find_files, read_documents
from framework.data.text.tokenizer import Tokenizer, compact, make_tokenizer
from framework.errors import DataError
from framework.naming import nearest
from framework.options import Count
from framework.paths import as_text, expanded
from framework.registry import register

Domain = str | list[str]


@register.dataset("text")
def text(
    *,
    length: Count,
    path: str | None = None,
    domains: dict[str, Domain] = {},  # noqa: B006
    text: tuple[str, ...] = ("text",),
    domain_column: str | None = None,
    tokenizer: str = "bytes",
    end_token: str | None = None,
    encoding: str = "utf-8",
    cut_documents: Count | None = None,
    max_tokens: Count | None = None,
    skip_empty: bool = False,
) -> Splits:
    """Documents in blocks of `length` tokens, each block of one domain; splits are cut by document.

    A file is a document, and so is each row of a .tsv, .csv or .jsonl file. Where files are named, a folder
    stands for all files in it, `*` for any name, and `FILE.zip:PATTERN` for members of an archive.

    Args:
        length: tokens of a block.
        path: folder of documents; the domain is the name of the sub-folder, or of the file where there is
            none. Give this or `domains`.
        domains: name of each domain -> its files, or a list of such.
        text: columns of a table that make up a document, joined by a line end.
        domain_column: column of a table whose value is the domain, within `path` or each of `domains`.
        tokenizer: `bytes`, `words` (hashed to 16,384 ids), or the path of a tokenizer.json or of the
            folder that holds it.
        end_token: token of a tokenizer file that ends a document; null finds one of a common name.
        encoding: of the files.
        cut_documents: cut longer documents into pieces of at most about so many characters, at line ends,
            so that a single book can be split; neighbouring pieces may then be in different splits.
        max_tokens: of each domain; documents after that many are left out.
        skip_empty: leave out empty documents instead of refusing them.
    """
    if (path is None) == (not domains):
        raise ValueError("give either path (a folder) or domains (files by name)")
    coder, known = make_tokenizer(tokenizer, end_token), checked_encoding(encoding)
    named = _by_folder(path) if path is not None else _by_name(domains)
    documents = (
        (_domain_of(document, domain_column) or domain, document)
        for domain, file in named
        for document in read_documents(file, known, text, skip_empty)
    )
    return {"train": tokenized(documents, coder, length, cut_documents, max_tokens)}


def tokenized(
    documents: Iterator[tuple[str, Document]],
    tokenizer: Tokenizer,
    length: int,
    cut_documents: int | None = None,
    max_tokens: int | None = None,
) -> Documents:
    """Documents of (domain, text) pairs, as `text` describes.

    Raises:
        DataError: a text gives no tokens, or there is none.
    """
    tokens: list[np.ndarray] = []
    num_bytes: list[int] = []
    domain_of: list[str] = []
    taken: dict[str, int] = {}
    for domain, document in documents:
        for piece in _cut(document.text, cut_documents):
            left = None if max_tokens is None else max_tokens - taken.get(domain, 0)
            if left is not None and left <= 0:
                break
            ids = tokenizer.encode([piece])[0]
            if not len(ids):
                raise DataError(f"{document.place}: the tokenizer gives no token for this text")
            size = len(piece.encode())
            if left is not None and len(ids) > left:
                size, ids = round(size * left / len(ids)), ids[:left]
            tokens.append(ids.astype(compact(tokenizer.num_tokens)))
            num_bytes.append(size)
            domain_of.append(domain)
            taken[domain] = taken.get(domain, 0) + len(ids)
    if not tokens:
        raise DataError("there are no documents")
    names = tuple(sorted(taken))
    place = {name: number for number, name in enumerate(names)}
    column = Column(np.array([place[name] for name in domain_of], dtype=np.int64), names)
    return Documents(tokens, np.array(num_bytes), column, tokenizer, length)


def _by_folder(path: str) -> Iterator[tuple[str, TextFile]]:
    root = expanded(path)
    for file in find_files(path):
        inside = file.path.relative_to(root) if root.is_dir() else Path(file.path.name)
        yield as_text(inside.parts[0] if len(inside.parts) > 1 else inside.stem), file


def _by_name(domains: dict[str, Domain]) -> Iterator[tuple[str, TextFile]]:
    for name, references in domains.items():
        for reference in [references] if isinstance(references, str) else references:
            for file in find_files(reference):
                yield name, file


def _domain_of(document: Document, column: str | None) -> str | None:
    if column is None:
        return None
    if column not in document.fields:
        known = document.fields
        raise DataError(f"{document.place}: no column '{column}'{nearest(column, known)}")
    return document.fields[column]


def _cut(text: str, limit: int | None) -> Iterator[str]:
    """The text in pieces of at most `limit` characters that end with a line, or alone are a longer one."""
    if limit is None or len(text) <= limit:
        yield text
        return
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if piece and size + len(line) > limit:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield "".join(piece)
