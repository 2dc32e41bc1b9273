"""Tables with numeric and categorical columns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.files.tables import numbers, read_table, texts
from framework.data.raw_table import Encoding, MissingValues, RawTable
from framework.errors import DataError
from framework.naming import nearest
from framework.options import Count, Finite, Name
from framework.paths import expanded
from framework.registry import register

if TYPE_CHECKING:
    from pandas import DataFrame, Series


@register.dataset("table")
def table(
    *,
    path: str,
    target: Name,
    validation_path: str | None = None,
    test_path: str | None = None,
    kind: Literal["classification", "regression"] = "classification",
    groups: tuple[Name, ...] = (),
    numeric: tuple[Name, ...] = (),
    categorical: tuple[Name, ...] = (),
    drop: tuple[Name, ...] = (),
    features: tuple[Name, ...] | None = None,
    within: dict[Name, tuple[Finite, Finite]] = {},  # noqa: B006
    extra: tuple[Name, ...] = (),
    missing: MissingValues = "indicator",
    scale: bool = True,
    max_categories: Count = 100,
    replace: dict[Name, Name] = {},  # noqa: B006
    header: bool = True,
    names: tuple[str, ...] | None = None,
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None,
) -> Splits:
    """A CSV, TSV, Parquet or ARFF file: one row per sample.

    A column whose values are all numbers is numeric, any other is categorical and becomes one feature
    per category. Means, deviations and categories are those of the training split.

    Args:
        path: the file; the suffix says its kind.
        target: column to predict.
        validation_path: file with the validation rows, if the data brings them.
        test_path: file with the test rows, if the data brings them.
        kind: whether the target is a class or a real number.
        groups: columns kept as metadata, to form groups of; they stay features unless dropped.
        numeric: columns that must be numbers.
        categorical: columns taken as categories although they hold numbers.
        drop: columns that are no features.
        features: the columns that are features; null takes all that are not dropped.
        within: smallest and largest value of a numeric column; the other rows, and those without a
            value, are left out of every file.
        extra: numeric columns handed to the policy instead of the model, e.g. `sample_weight`.
        missing: `indicator` fills in the mean and adds a feature that says so (a category of its own
            for text); `mean` only fills in (no category for text); `error` refuses.
        scale: give numeric features zero mean and unit variance.
        max_categories: refuse a categorical column with more, most likely a name or a date.
        replace: texts read as other texts in every column, e.g. to repair class names.
        header: whether the first line of a CSV file names the columns.
        names: names of the columns of a CSV file without header; null numbers them from 0.
        delimiter: of a CSV file; null takes a tab for .tsv and a comma otherwise.
    """
    if header and names is not None:
        raise ValueError("`names` are for a file without a header line; set header=false")
    paths = {"train": path, "validation": validation_path, "test": test_path}
    given = {split: expanded(p) for split, p in paths.items() if p is not None}
    frames = {split: read_table(p, header, names, delimiter) for split, p in given.items()}
    used = dict.fromkeys((target, *groups, *numeric, *categorical, *drop, *(features or ()), *within, *extra))
    for split, frame in frames.items():
        _check_columns(given[split], frame, (*used, *frames["train"].columns))
    frames = {split: _kept_rows(frame, within, given[split]) for split, frame in frames.items()}
    if replace:
        frames = {split: _replaced(frame, replace) for split, frame in frames.items()}

    offered = frames["train"].columns if features is None else features
    inputs = [c for c in offered if c not in (target, *drop, *extra)]
    numeric_names = tuple(
        c for c in inputs if c not in categorical and _is_numeric(c, frames, given, c in numeric)
    )
    others = [c for c in inputs if c not in numeric_names]
    if not inputs:
        raise DataError(f"{path}: no column is left as a feature")
    kept = dict.fromkeys((*others, *groups, *([target] if kind == "classification" else [])))
    facts = {c: _categorical_columns([frame[c] for frame in frames.values()]) for c in kept}

    splits: Splits = {}
    for number, (split, frame) in enumerate(frames.items()):
        columns = {c: facts[c][number] for c in groups}
        if kind == "classification":
            label = columns["label"] = facts[target][number]
            _check_target(given[split], target, label.values < 0)
            targets, spec = label.values, DataSpec((0,), len(label.names), label.names)
        else:
            targets, spec = _real(frame[target], given[split]).astype(np.float32), DataSpec((0,), None)
            _check_target(given[split], target, np.isnan(targets))
        splits[split] = RawTable(
            np.stack([_real(frame[c], given[split]) for c in numeric_names], axis=1)
            if numeric_names
            else np.zeros((len(frame), 0)),
            numeric_names,
            {c: facts[c][number] for c in others},
            targets,
            spec,
            columns,
            {c: _real(frame[c], given[split]).astype(np.float32) for c in extra},
            Encoding(scale, missing, max_categories),
        )
    return splits


def _check_columns(path: Path, frame: DataFrame, wanted: tuple[str, ...]) -> None:
    columns = [str(name) for name in frame.columns]
    frame.columns = columns
    for name in wanted:
        if str(name) not in columns:
            raise DataError(
                f"{path}: no column '{name}'{nearest(name, columns)} (columns: {', '.join(columns)})"
            )


def _kept_rows(frame: DataFrame, within: dict[str, tuple[float, float]], path: Path) -> DataFrame:
    """The rows whose values lie within the limits, numbered anew."""
    for name, (smallest, largest) in within.items():
        values = _real(frame[name], path)
        frame = frame[(smallest <= values) & (values <= largest)].reset_index(drop=True)
        if not len(frame):
            raise DataError(f"{path}: no row has '{name}' within {smallest:g} and {largest:g}")
    return frame


def _replaced(frame: DataFrame, replace: dict[str, str]) -> DataFrame:
    """Text columns with `replace` applied; typed numbers are left alone."""
    from pandas.api.types import is_numeric_dtype

    changed = {c: texts(frame[c]).replace(replace) for c in frame.columns if not is_numeric_dtype(frame[c])}
    return frame.assign(**changed)


def _is_numeric(name: str, frames: dict[str, DataFrame], paths: dict[str, Path], required: bool) -> bool:
    """Whether a feature holds numbers only, in every file."""
    for split, frame in frames.items():
        if numbers(frame[name]) is None:
            if required:
                _real(frame[name], paths[split])
            return False
    return True


def _real(column: Series, path: Path) -> np.ndarray:
    """The numbers of a column (rows,), float64, NaN where missing."""
    found = numbers(column)
    if found is None:
        import pandas as pd

        wrong = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
        row = int(wrong.argmax())
        raise DataError(
            f"{path}: column '{column.name}' must be numbers, but row {row + 1} has '{column.iloc[row]}'"
        )
    values: np.ndarray = found.to_numpy(dtype=np.float64)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise DataError(f"{path}: column '{column.name}' is infinite in row {row + 1}")
    return values


def _categorical_columns(columns: list[Series]) -> list[Column]:
    """The same column of every split over one vocabulary, in the order of the numbers or the alphabet."""
    parts = [texts(column) for column in columns]
    values = {value for part in parts for value in part if value is not None}
    names = tuple(sorted(values, key=_natural))
    place = {name: number for number, name in enumerate(names)}
    return [
        Column(np.array([-1 if v is None else place[v] for v in part], dtype=np.int64), names)
        for part in parts
    ]


def _natural(text: str) -> tuple[int, float, str]:
    try:
        number = float(text)
    except ValueError:
        return 1, 0.0, text
    # a NaN is neither less nor more than anything: no order would follow from it
    return (1, 0.0, text) if math.isnan(number) else (0, number, text)


def _check_target(path: Path, target: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(missing.argmax()) + 1
        raise DataError(
            f"{path}: target '{target}' is missing in {missing.sum()} rows, the first is row {row}"
        )
