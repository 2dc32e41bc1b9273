"""Which group each sample belongs to, what the groups are called, and how many training samples they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from framework.data.dataset import Column, Dataset, Splits, joint_names
from framework.errors import ConfigError, DataError, Problem
from framework.naming import nearest

OTHER = "other"
_NO_VALUE = "(no value)"


@dataclass(frozen=True)
class GroupTable:
    """The groups that metadata columns form: one per combination that occurs in any split.

    Attributes:
        names: one per group, e.g. ``3`` for one column or ``label=odd, background=1`` for several.
        counts: (groups,) int64 training samples; 0 for a group that only other splits have.
        columns: the columns, in the order of the configuration; empty for one group of everything.
        vocabularies: the value names of each column.
        codes: sorted codes of the known combinations, as `_codes` gives them.
        other: whether the last group takes the samples of no known combination.
        each_sample: every training sample is its own group; `columns` then say nothing.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    columns: tuple[str, ...]
    vocabularies: tuple[tuple[str, ...], ...]
    codes: np.ndarray
    other: bool = False
    each_sample: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def assign(self, dataset: Dataset, split: str = "data") -> np.ndarray:
        """Group ids of the samples (n,), int64; `split` is what messages call the dataset.

        Raises:
            DataError: samples of a group that the table does not know, where `other` is not declared.
        """
        if self.each_sample:
            return np.arange(len(dataset))
        codes = _codes(dataset, self.columns, self.vocabularies)
        ids = np.searchsorted(self.codes, codes).clip(max=max(len(self.codes) - 1, 0))
        known = self.codes[ids] == codes if len(self.codes) else np.zeros(len(codes), dtype=bool)
        if self.other:
            return np.where(known, ids, len(self.codes))
        if not known.all():
            raise DataError(
                f"split '{split}': {_describe_unknown(dataset, self.columns, ~known)};"
                " give these samples a value, drop them, or set data.unknown_group=other"
            )
        return ids


def column_groups(splits: Splits, columns: Sequence[str], allow_other: bool) -> GroupTable:
    """The table of the combinations of `columns` that occur in any of `splits`.

    Raises:
        ConfigError: a split has no such column.
        DataError: a sample has no value in one of the columns, unless `allow_other`.
    """
    for split, dataset in splits.items():
        problems = [
            _no_column(name, split, dataset.columns) for name in columns if name not in dataset.columns
        ]
        if problems:
            raise ConfigError(problems)
    vocabularies = tuple(joint_names(d.columns[name] for d in splits.values()) for name in columns)
    found = [_codes(dataset, columns, vocabularies) for dataset in splits.values()]
    codes = np.unique(np.concatenate(found))
    other = allow_other and bool((codes < 0).any())
    codes = codes[codes >= 0]
    names = [_name(int(code), columns, vocabularies) for code in codes] + [OTHER] * other
    table = GroupTable(
        tuple(names), np.zeros(len(names), np.int64), tuple(columns), vocabularies, codes, other
    )
    assigned = {split: table.assign(dataset, split) for split, dataset in splits.items()}
    table.counts[:] = np.bincount(assigned["train"], minlength=len(names))
    return table


def sample_groups(training: Dataset) -> GroupTable:
    """Each training sample is its own group, named by its position."""
    count = len(training)
    names = tuple(map(str, range(count)))
    return GroupTable(names, np.ones(count, np.int64), (), (), np.arange(count), each_sample=True)


def _codes(dataset: Dataset, columns: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> np.ndarray:
    """One number per combination of values (n,): its place in the product of the vocabularies, or -1."""
    codes = np.zeros(len(dataset), dtype=np.int64)
    unknown = np.zeros(len(dataset), dtype=bool)
    for name, vocabulary in zip(columns, vocabularies, strict=True):
        ids = dataset.columns[name].ids_in(vocabulary)
        unknown |= ids < 0
        codes = codes * len(vocabulary) + ids
    codes[unknown] = -1
    return codes


def _name(code: int, columns: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> str:
    values = []
    for vocabulary in reversed(vocabularies):
        code, place = divmod(code, len(vocabulary))
        values.append(vocabulary[place])
    if len(columns) < 2:
        return values[0] if values else "all"
    return ", ".join(f"{name}={value}" for name, value in zip(columns, reversed(values), strict=True))


def _describe_unknown(dataset: Dataset, columns: Sequence[str], unknown: np.ndarray) -> str:
    """The unknown combinations with their counts, most frequent first."""
    values = [
        np.array([*dataset.columns[name].names, _NO_VALUE])[dataset.columns[name].values] for name in columns
    ]
    combinations, counts = np.unique(np.stack(values)[:, unknown], axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:5]
    parts = [
        ", ".join(f"{name}={value}" for name, value in zip(columns, combinations[:, i], strict=True))
        + f" ({counts[i]} samples)"
        for i in order
    ]
    more = f" and {len(counts) - len(order)} more" if len(counts) > len(order) else ""
    return f"unknown group{'s' if len(counts) > 1 else ''} {'; '.join(parts)}{more}"


def _no_column(name: str, split: str, columns: Mapping[str, Column]) -> Problem:
    offer = nearest(name, columns) or f" (one of: {', '.join(columns) or 'none'})"
    return Problem("data.groups", f"split '{split}' has no column '{name}'{offer}")
