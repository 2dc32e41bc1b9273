"""The columns of a table as they stand in its file, before they become features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from framework.data.dataset import Dataset
from framework.data.raw_table import RawTable

#: the commonest values that are named
_MAX_NAMED = 4


@dataclass(frozen=True)
class TableColumn:
    """One column that is a feature.

    Attributes:
        name: in the file.
        kind: `numbers` or `categories`.
        missing: split -> rows without a value.
        content: what the training rows hold, in words.
        constant: whether all training rows have the same value.
        values: split -> (rows,) the numbers that are there; empty for categories.
    """

    name: str
    kind: str
    missing: Mapping[str, int]
    content: str
    constant: bool
    values: Mapping[str, np.ndarray]


def table_columns(splits: Mapping[str, Dataset]) -> list[TableColumn]:
    """The feature columns of a table; none for a source of another kind."""
    tables = {name: dataset for name, dataset in splits.items() if isinstance(dataset, RawTable)}
    if "train" not in tables:
        return []
    return [
        *(_numeric(number, tables) for number in range(len(tables["train"].numeric_names))),
        *(_categorical(name, tables) for name in tables["train"].categories),
    ]


def _numeric(number: int, tables: Mapping[str, RawTable]) -> TableColumn:
    parts = {split: table.numeric[:, number] for split, table in tables.items()}
    known = {split: part[~np.isnan(part)] for split, part in parts.items()}
    missing = {split: len(part) - len(known[split]) for split, part in parts.items()}
    values = known["train"]
    content = "no value"
    constant = not missing["train"] and len(np.unique(values)) <= 1
    if len(values):
        span = f"{values.min():.6g} to {values.max():.6g}, mean {values.mean():.6g}"
        content = f"{values[0]:.6g}" if constant else span
    return TableColumn(tables["train"].numeric_names[number], "numbers", missing, content, constant, known)


def _categorical(name: str, tables: Mapping[str, RawTable]) -> TableColumn:
    columns = {split: table.categories[name] for split, table in tables.items()}
    missing = {split: int((column.values < 0).sum()) for split, column in columns.items()}
    training = columns["train"]
    known = training.values[training.values >= 0]
    counts = np.bincount(known, minlength=len(training.names))
    common = np.argsort(-counts, kind="stable")[: min(_MAX_NAMED, int((counts > 0).sum()))]
    named = ", ".join(f"{training.names[number]} ({counts[number]:,})" for number in common)
    more = int((counts > 0).sum()) - len(common)
    content = (named + (f" and {more:,} more" if more else "")) or "no value"
    constant = not missing["train"] and int((counts > 0).sum()) <= 1
    if constant and len(common):
        content = training.names[common[0]]
    return TableColumn(name, "categories", missing, content, constant, {})
