"""Splits of samples from rows of the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.hub.columns import categories, numbers, texts
from framework.data.hub.images import RowImages
from framework.data.hub.load import Rows
from framework.data.in_memory import ArrayDataset
from framework.data.sources.text import tokenized
from framework.data.text.documents import Document
from framework.data.text.padded import PaddedTexts, padded
from framework.data.text.tokenizer import Tokenizer, compact
from framework.errors import DataError


@dataclass(frozen=True)
class Facts:
    """What is known of the samples of one split beside their inputs.

    Attributes:
        targets: (samples,) class ids or real numbers.
        num_classes: None for real numbers.
        class_names: empty for real numbers.
        columns: metadata.
        extra: numbers for the policy.
    """

    targets: Tensor
    num_classes: int | None
    class_names: tuple[str, ...]
    columns: Mapping[str, Column]
    extra: Mapping[str, np.ndarray]


def read_facts(
    splits: Mapping[str, Rows], target: str, is_class: bool, groups: Sequence[str], extra: Sequence[str]
) -> dict[str, Facts]:
    """Targets, columns and extra numbers of every split.

    Raises:
        DataError: a target is missing, or a column does not hold what it should.
    """
    columns = {name: categories(splits, name) for name in groups}
    labels = categories(splits, target) if is_class else {}
    facts = {}
    for split, rows in splits.items():
        own = {name: parts[split] for name, parts in columns.items()}
        more = {name: _single(rows, name, split) for name in extra}
        if not is_class:
            targets = torch.from_numpy(numbers(rows, target, split))
            facts[split] = Facts(targets, None, (), own, more)
            continue
        label = labels[split]
        if (label.values < 0).any():
            row = int((label.values < 0).argmax()) + 1
            raise DataError(f"split '{split}', row {row}: target '{target}' is missing")
        targets = torch.from_numpy(label.values)
        facts[split] = Facts(targets, len(label.names), label.names, {**own, "label": label}, more)
    return facts


def image_splits(
    splits: Mapping[str, Rows], name: str, facts: Mapping[str, Facts], size: int, channels: int
) -> Splits:
    """Images that are decoded when they are read, (channels, size, size)."""
    found: Splits = {}
    for split, rows in splits.items():
        of = facts[split]
        spec = DataSpec((channels, size, size), of.num_classes, of.class_names)
        places = np.arange(len(rows))
        found[split] = RowImages(rows, name, places, of.targets, spec, of.columns, of.extra)
    return found


def number_splits(splits: Mapping[str, Rows], names: Sequence[str], facts: Mapping[str, Facts]) -> Splits:
    """Numbers in memory: the features of all columns side by side, or one column of arrays as it is."""
    found: Splits = {}
    for split, rows in splits.items():
        of = facts[split]
        arrays = [numbers(rows, name, split) for name in names]
        if len(arrays) > 1 or arrays[0].ndim < 3:
            arrays = [np.concatenate([array.reshape(len(rows), -1) for array in arrays], axis=1)]
        spec = DataSpec(tuple(arrays[0].shape[1:]), of.num_classes, of.class_names)
        inputs = torch.from_numpy(arrays[0])
        found[split] = ArrayDataset(inputs, of.targets, spec, of.columns, of.extra)
    return found


def text_splits(
    splits: Mapping[str, Rows],
    names: Sequence[str],
    facts: Mapping[str, Facts],
    tokenizer: Tokenizer,
    length: int,
) -> Splits:
    """Texts of a classification: the columns one after the other, cut or filled to `length` tokens."""
    found: Splits = {}
    for split, rows in splits.items():
        of = facts[split]
        spec = DataSpec((length,), of.num_classes, of.class_names, num_tokens=tokenizer.num_tokens)
        encoded = [tokenizer.encode(texts(rows, name, split)) for name in names]
        dtype = compact(tokenizer.num_tokens)
        ids, lengths = padded(list(zip(*encoded, strict=True)), length, tokenizer.end, dtype)
        found[split] = PaddedTexts(ids, lengths, spec, of.columns, tokenizer)
    return found


def document_splits(
    splits: Mapping[str, Rows], names: Sequence[str], domain: str | None, tokenizer: Tokenizer, length: int
) -> Splits:
    """Documents for language modelling; a row is one, its columns joined by line ends.

    Raises:
        DataError: a text or a domain is missing.
    """
    domains = categories(splits, domain) if domain is not None else {}
    found: Splits = {}
    for split, rows in splits.items():
        documents = _documents(rows, names, split, domains.get(split))
        found[split] = tokenized(documents, tokenizer, length)
    return found


def _documents(
    rows: Rows, names: Sequence[str], split: str, domain: Column | None
) -> Iterator[tuple[str, Document]]:
    parts = [texts(rows, name, split) for name in names]
    for row, columns in enumerate(zip(*parts, strict=True)):
        place = f"split '{split}', row {row + 1}"
        if domain is not None and domain.values[row] < 0:
            raise DataError(f"{place}: the domain is missing")
        name = "all" if domain is None else domain.names[domain.values[row]]
        yield name, Document("\n".join(columns), place)


def _single(rows: Rows, name: str, split: str) -> np.ndarray:
    """A column with one number per sample, (samples,)."""
    array = numbers(rows, name, split)
    if array.ndim > 1:
        raise DataError(f"split '{split}': column '{name}' must have one number per row")
    return array
