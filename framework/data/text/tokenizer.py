"""Texts to token ids: bytes or hashed words, which need nothing, or a file of the `tokenizers` library."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from framework.data.files.paths import existing_file
from framework.errors import DataError, UserError
from framework.paths import expanded, is_folder

#: tokens that end a text in common vocabularies
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


class Tokenizer(Protocol):
    """Gives ids below `num_tokens`; the token `end` ends a document and fills what is left of a block."""

    num_tokens: int
    end: int

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, (tokens,) int64, without `end`."""

    def decode(self, ids: np.ndarray) -> str:
        """About the text of ids (tokens,) without `end`, for a reader."""


def readable(tokenizer: Tokenizer, ids: np.ndarray) -> str:
    """The texts of ids (tokens,), a bar where one ends and the next begins."""
    ends = np.flatnonzero(ids == tokenizer.end)
    parts = [part[part != tokenizer.end] for part in np.split(ids, ends)]
    return " | ".join(tokenizer.decode(part.astype(np.int64)) for part in parts if len(part))


class ByteTokenizer:
    """A token per byte of UTF-8, and one that ends a document."""

    num_tokens = 257
    end = 256

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The bytes of each text."""
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) for text in texts]

    def decode(self, ids: np.ndarray) -> str:
        """The text; bytes that a cut left of a character become a question mark."""
        return ids.astype(np.uint8).tobytes().decode(errors="replace")


class WordTokenizer:
    """Lower-case words and punctuation marks, each hashed to one of 16,384 ids, and one that ends a text.

    The hashing trick (Weinberger et al., arXiv 0902.2206): no vocabulary is learnt or downloaded; words
    may share an id.
    """

    num_tokens = 2**14 + 1
    end = 2**14

    def __init__(self) -> None:
        self.words: dict[int, str] = {}

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The hashed words of each text."""
        words = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in texts]
        ids = [[zlib.crc32(word.encode()) % self.end for word in row] for row in words]
        for numbers, row in zip(ids, words, strict=True):
            self.words.update(zip(numbers, row, strict=True))
        return [np.array(numbers, dtype=np.int64) for numbers in ids]

    def decode(self, ids: np.ndarray) -> str:
        """The last word that was met for each id."""
        return " ".join(self.words.get(number, "?") for number in ids.tolist())


class FileTokenizer:
    """A `tokenizer.json`, as the `tokenizers` and `transformers` libraries write it.

    Args:
        path: that file, or the folder that holds it.
        end_token: ends a document; None takes the one of a common name.

    Raises:
        UserError: the library is not installed.
        DataError: the file is missing or broken, or has no such token.
    """

    def __init__(self, path: str, end_token: str | None) -> None:
        try:
            library: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise UserError(
                f"a tokenizer file needs the package tokenizers ({error}):"
                " run `pip install framework[huggingface]`, or set tokenizer=bytes"
            ) from error
        folder = expanded(path)
        file = existing_file(folder / "tokenizer.json" if is_folder(folder) else folder)
        try:
            self.tokenizer = library.Tokenizer.from_file(str(file))
        # The library raises plain exceptions of no class of its own.
        except Exception as error:
            raise DataError(f"{file}: not a tokenizer file: {error}") from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.num_tokens = int(self.tokenizer.get_vocab_size())
        ids = [self.tokenizer.token_to_id(name) for name in ([end_token] if end_token else _ENDS)]
        found = [number for number in ids if number is not None]
        if not found:
            raise DataError(
                f"{file}: no token '{end_token}'"
                if end_token
                else f"{file}: none of {', '.join(_ENDS)} is there; set `end_token`"
            )
        self.end = int(found[0])

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, without the tokens that the file would add around it."""
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def decode(self, ids: np.ndarray) -> str:
        """The text."""
        return str(self.tokenizer.decode(ids.tolist()))


def make_tokenizer(name: str, end_token: str | None) -> Tokenizer:
    """`bytes`, `words`, or the tokenizer of a file or folder.

    Raises:
        ValueError: the first two have no other end.
    """
    own: dict[str, type[Tokenizer]] = {"bytes": ByteTokenizer, "words": WordTokenizer}
    if name not in own:
        return FileTokenizer(name, end_token)
    if end_token is not None:
        raise ValueError(f"the tokenizer `{name}` has an end of its own; leave end_token out")
    return own[name]()


def compact(num_tokens: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type in memory for ids below `num_tokens`."""
    return np.uint16 if num_tokens <= 2**16 else np.uint32
