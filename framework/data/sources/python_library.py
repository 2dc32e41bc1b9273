"""The text of the running interpreter's standard library: domains that need no download."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from framework.data.dataset import Splits
from framework.data.sources.text import tokenized
from framework.data.text.documents import Document, TextFile, read_documents
from framework.data.text.tokenizer import ByteTokenizer
from framework.errors import DataError
from framework.options import Count
from framework.registry import register

#: prose, code and tables of numbers, whose entropies per byte are far apart
DOMAINS = {
    "documentation": ["pydoc_data/topics.py"],
    "code": ["asyncio/*.py"],
    "tables": ["encodings/cp*.py"],
}


@register.dataset("python_library")
def python_library(
    *,
    length: Count = 128,
    domains: dict[str, list[str]] = DOMAINS,
    cut_documents: Count = 2000,
    max_tokens: Count | None = 60_000,
) -> Splits:
    """Files of Python's standard library in blocks of bytes; another Python version is other data.

    Args:
        length: tokens (bytes) of a block.
        domains: name of each domain -> patterns of files under the library's folder.
        cut_documents: cut files into documents of at most about so many characters, at line ends.
        max_tokens: of each domain; null takes all.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    return {"train": tokenized(_read(root, domains), ByteTokenizer(), length, cut_documents, max_tokens)}


def _read(root: Path, domains: dict[str, list[str]]) -> Iterator[tuple[str, Document]]:
    for name, patterns in domains.items():
        for pattern in patterns:
            try:
                files = sorted(root.glob(pattern))
            except (ValueError, NotImplementedError) as error:  # an empty pattern, or one that starts with /
                raise DataError(f"domain {name}: '{pattern}' is no pattern below {root}: {error}") from error
            if not files:
                raise DataError(f"domain {name}: no file of {root} matches '{pattern}'")
            for path in files:
                for document in read_documents(TextFile(path), "utf-8", ("text",), skip_empty=True):
                    yield name, document
