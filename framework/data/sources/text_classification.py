"""Labelled texts from tables: a sentence, or several columns, with a class each."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.text.documents import Document, checked_encoding, find_files, read_documents
from framework.data.text.padded import PaddedTexts, padded
from framework.data.text.tokenizer import compact, make_tokenizer
from framework.errors import DataError
from framework.naming import nearest
from framework.options import Count, Name
from framework.registry import register


@register.dataset("text_classification")
def text_classification(
    *,
    path: str,
    validation_path: str | None = None,
    test_path: str | None = None,
    text: tuple[str, ...] = ("text",),
    label: str = "label",
    classes: dict[Name, str] = {},  # noqa: B006
    groups: tuple[str, ...] = (),
    contains: dict[str, dict[str, list[str]]] = {},  # noqa: B006
    length: Count = 128,
    tokenizer: str = "words",
    end_token: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
) -> Splits:
    """Rows of .tsv, .csv or .jsonl files: token ids cut or padded to one length, with a mask, and a class.

    Args:
        path: the file, a pattern with `*`, or `FILE.zip:PATTERN`.
        validation_path: file with the validation rows, if the data brings them.
        test_path: file with the test rows, if the data brings them.
        text: columns to read, one after the other with an end token after each.
        label: column of the class.
        classes: value of `label` -> name of the class, which several may share; empty takes the values as
            names. Rows of any other value are an error.
        groups: columns kept as metadata, to form groups of.
        contains: name of a further column -> a text column -> words; it is `yes` where one of the words
            is in that text, whatever its case, else `no`.
        length: tokens of a sample.
        tokenizer: `words` hashes lower-case words into 16,384 ids, `bytes` needs a longer `length`; or the
            path of a tokenizer.json or of the folder that holds it.
        end_token: token of a tokenizer file that ends a text; null finds one of a common name.
        encoding: of the files.
        skip_empty: leave out rows without text instead of refusing them.
    """
    coder, known = make_tokenizer(tokenizer, end_token), checked_encoding(encoding)
    paths = {"train": path, "validation": validation_path, "test": test_path}
    rows = {
        split: [row for file in find_files(p) for row in read_documents(file, known, text, skip_empty)]
        for split, p in paths.items()
        if p is not None
    }
    facts: dict[str, dict[str, list[str]]] = {split: {} for split in rows}
    for split, documents in rows.items():
        facts[split]["label"] = _labels(documents, label, classes)
        facts[split] |= {name: [_value(document, name) for document in documents] for name in groups}
        for name, wanted in contains.items():
            facts[split][name] = ["yes" if _has(document, wanted) else "no" for document in documents]
    splits: Splits = {}
    for split, documents in rows.items():
        columns = {name: _column(name, facts, split, tuple(classes.values())) for name in facts[split]}
        names = columns["label"].names
        spec = DataSpec((length,), len(names), names, num_tokens=coder.num_tokens)
        texts = [coder.encode([document.fields[name] for name in text]) for document in documents]
        tokens, lengths = padded(texts, length, coder.end, compact(coder.num_tokens))
        splits[split] = PaddedTexts(tokens, lengths, spec, columns, coder)
    return splits


def _labels(documents: Sequence[Document], label: str, classes: dict[str, str]) -> list[str]:
    values = [_value(document, label) for document in documents]
    if not classes:
        return values
    for document, value in zip(documents, values, strict=True):
        if value not in classes:
            raise DataError(f"{document.place}: label '{value}' is none of `classes` ({', '.join(classes)})")
    return [classes[value] for value in values]


def _value(document: Document, column: str) -> str:
    if column not in document.fields:
        known = document.fields
        raise DataError(
            f"{document.place}: no column '{column}'{nearest(column, known)} (columns: {', '.join(known)})"
        )
    value = document.fields[column].strip()
    if not value:
        raise DataError(f"{document.place}: column '{column}' is empty")
    return value


def _has(document: Document, wanted: dict[str, list[str]]) -> bool:
    """Whether a text column has one of its words."""
    return any(
        re.search(rf"\b({'|'.join(map(re.escape, words))})\b", _value(document, column), re.IGNORECASE)
        for column, words in wanted.items()
    )


def _column(name: str, facts: dict[str, dict[str, list[str]]], split: str, order: tuple[str, ...]) -> Column:
    """The values of a split, over the names that occur in any."""
    found = {value for columns in facts.values() for value in columns[name]}
    names = tuple(dict.fromkeys(order)) if name == "label" and order else tuple(sorted(found))
    place = {value: number for number, value in enumerate(names)}
    return Column(np.array([place[value] for value in facts[split][name]], dtype=np.int64), names)
