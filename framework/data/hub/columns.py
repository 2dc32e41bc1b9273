"""Columns of the `datasets` library as metadata, numbers and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from framework.data.dataset import Column
from framework.data.hub.load import Rows
from framework.errors import DataError
from framework.naming import nearest

ColumnKind = Literal["image", "text", "numbers", "other"]


def check_columns(splits: Mapping[str, Rows], wanted: Sequence[str]) -> None:
    """Raises DataError unless every split has the columns."""
    for split, rows in splits.items():
        for name in wanted:
            if name not in rows.column_names:
                known = rows.column_names
                raise DataError(
                    f"split '{split}' has no column '{name}'{nearest(name, known)}"
                    f" (columns: {', '.join(known)})"
                )


def kind_of(rows: Rows, name: str) -> ColumnKind:
    """What a column holds; numbers may be lists and arrays of such."""
    feature = rows.features[name]
    if type(feature).__name__ == "Image":
        return "image"
    if str(getattr(feature, "dtype", "")) in ("string", "large_string"):
        return "text"
    while hasattr(feature, "feature"):
        feature = feature.feature
    dtype = str(getattr(feature, "dtype", ""))
    return "numbers" if dtype.startswith(("int", "uint", "float", "double", "bool")) else "other"


def described(rows: Rows, names: Sequence[str]) -> str:
    """The columns with their types, for messages."""
    return ", ".join(f"{name}: {rows.features[name]}" for name in names)


def values(rows: Rows, name: str) -> list[Any]:
    """The values of a column, None where missing."""
    table = rows.select_columns([name]).with_format("arrow")[:]
    return list(table.column(name).to_pylist())


def texts(rows: Rows, name: str, split: str) -> list[str]:
    """A column of texts.

    Raises:
        DataError: a value is missing or blank.
    """
    found = values(rows, name)
    for row, text in enumerate(found, 1):
        if text is None or not text.strip():
            raise DataError(f"split '{split}', row {row}: column '{name}' has no text")
    return found


def numbers(rows: Rows, name: str, split: str) -> np.ndarray:
    """A column of numbers, or of lists or arrays of one shape: float32 (samples, ...).

    Raises:
        DataError: a value is missing, infinite or no number, or shapes differ.
    """
    if kind_of(rows, name) != "numbers":
        raise DataError(f"split '{split}': column '{name}' must be numbers, not {rows.features[name]}")
    found = rows.select_columns([name]).with_format("numpy", dtype=np.float32)[:][name]
    if not isinstance(found, np.ndarray) or found.dtype == object:
        raise DataError(f"split '{split}': column '{name}' has lists of different lengths")
    array = found.astype(np.float32)
    bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise DataError(
            f"split '{split}', row {int(bad.argmax()) + 1}: column '{name}' has no finite number;"
            " the source `table` fills in missing values"
        )
    return array


def categories(splits: Mapping[str, Rows], name: str) -> dict[str, Column]:
    """A column of every split over one vocabulary; -1 where a value is missing.

    The names are those of a `ClassLabel`, or the values in the order of numbers or of the alphabet.

    Raises:
        DataError: the values are neither texts nor whole numbers, or the splits name classes differently.
    """
    found = {split: values(rows, name) for split, rows in splits.items()}
    labels = {tuple(getattr(rows.features[name], "names", None) or ()) for rows in splits.values()}
    if len(labels) > 1:
        raise DataError(f"column '{name}' has other class names in one split than in another")
    (given,) = labels
    if given:
        ids = {split: [-1 if v is None else v for v in part] for split, part in found.items()}
        return {split: Column(np.array(part, dtype=np.int64), given) for split, part in ids.items()}
    known = {value for part in found.values() for value in part if value is not None}
    if len({type(value) for value in known} - {str, int, bool}) or len({type(v) for v in known}) > 1:
        kinds = ", ".join(sorted({type(value).__name__ for value in known}))
        raise DataError(f"column '{name}' must be classes: texts, whole numbers or booleans, not {kinds}")
    names = sorted(known)
    place = {value: number for number, value in enumerate(names)}
    return {
        split: Column(np.array([place.get(v, -1) for v in part], dtype=np.int64), tuple(map(str, names)))
        for split, part in found.items()
    }
