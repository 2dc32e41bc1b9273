"""Reads a table from CSV, Parquet or ARFF into a data frame of text and numbers."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from framework.data.files.arff import read_arff
from framework.data.files.paths import existing_file
from framework.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

#: texts that stand for a missing value in CSV files
MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "None")


def read_table(path: Path, header: bool, names: Sequence[str] | None, delimiter: str | None) -> DataFrame:
    """The rows of the file; columns are text with None where missing, or numbers if the file types them.

    Args:
        path: its suffix says the format: .csv, .tsv, either with .gz, .parquet or .arff.
        header: whether the first line of a CSV file names the columns.
        names: of the columns of a CSV file without header; None numbers them.
        delimiter: of a CSV file; None takes a tab for .tsv and a comma otherwise.

    Raises:
        DataError: the file is missing, broken or empty.
    """
    existing_file(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".tsv", ".txt", ".data"):
        frame = _read_csv(path, header, names, delimiter or ("\t" if suffix == ".tsv" else ","))
    elif suffix == ".parquet":
        frame = _read_parquet(path)
    elif suffix == ".arff":
        frame = _read_arff(path)
    else:
        raise DataError(f"{path}: unknown kind of table '{suffix}' (.csv, .tsv, .parquet or .arff)")
    if not len(frame):
        raise DataError(f"{path}: no rows")
    return frame


def _read_csv(path: Path, header: bool, names: Sequence[str] | None, delimiter: str) -> DataFrame:
    import pandas as pd

    try:
        columns, skipped = _check_csv(path, header, names, delimiter)
        # all as text: what is a number is decided in one place, for every kind of file
        return pd.read_csv(
            path,
            sep=delimiter,
            header=None,
            names=columns,
            skiprows=skipped,
            dtype=object,
            keep_default_na=False,
            na_values=list(MISSING),
            skipinitialspace=True,
            index_col=False,
        )
    except (UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error, pd.errors.ParserError) as error:
        raise DataError(f"{path}: not a readable table: {error}") from error


def _check_csv(
    path: Path, header: bool, names: Sequence[str] | None, delimiter: str
) -> tuple[list[str], int]:
    """The names of the columns, and how many lines stand before the first row of values.

    Every row must have as many values, which pandas would not mind.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    # spreadsheets begin UTF-8 with a mark, which is no part of the first name
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        # pandas has no limit either; it is for the process, so it is only raised
        csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
        lines = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        first = next((row for row in lines if row), None)
        if first is None:
            raise DataError(f"{path}: the file is empty")
        skipped = lines.line_num if header else 0
        columns = [name.strip() for name in first] if header else [str(i) for i in range(len(first))]
        if names is not None:
            columns = list(names)
        twice = {name for name in columns if columns.count(name) > 1}
        if twice:
            raise DataError(f"{path}: column {', '.join(sorted(twice))} is there twice")
        if len(first) != len(columns):
            raise DataError(
                f"{path}, line {lines.line_num}: {len(first)} values, but {len(columns)} columns are named"
            )
        for row in lines:
            if row and len(row) != len(columns):
                raise DataError(
                    f"{path}, line {lines.line_num}: {len(row)} values, but there are {len(columns)} columns"
                )
    return columns, skipped


def _read_parquet(path: Path) -> DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _read_arff(path: Path) -> DataFrame:
    import pandas as pd

    content = read_arff(path)
    frame = pd.DataFrame(content.rows, columns=content.names, dtype=object)
    for name, nominal in zip(content.names, content.nominal, strict=True):
        if nominal is None:
            numbers = pd.to_numeric(frame[name], errors="coerce")
            wrong = numbers.isna() & frame[name].notna()
            if wrong.any():
                row = int(wrong.to_numpy().argmax())
                raise DataError(
                    f"{path}: '{frame[name].iloc[row]}' in row {row + 1} is no number, as '{name}' must be"
                )
            frame[name] = numbers.astype("float64")
    return frame


def texts(column: Series) -> Series:
    """The column as text with None where missing; whole numbers are written without a point.

    Raises:
        DataError: it holds lists or objects.
    """
    import pandas as pd

    _check_single(column)
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    stripped = column.astype(object).map(lambda value: None if pd.isna(value) else str(value).strip())
    return stripped.astype(object).where(stripped.notna(), None)


def numbers(column: Series) -> Series | None:
    """The column as float64 with NaN where missing, or None if some value is no number.

    Raises:
        DataError: it holds lists or objects.
    """
    import pandas as pd

    _check_single(column)
    if pd.api.types.is_bool_dtype(column):
        return None
    found = pd.to_numeric(column, errors="coerce")
    return None if (found.isna() & column.notna()).any() else found.astype("float64")


def _check_single(column: Series) -> None:
    """Raises DataError for what only Parquet can hold: several values in one place."""
    if column.dtype == object and any(isinstance(value, list | dict | np.ndarray) for value in column):
        raise DataError(f"column '{column.name}' holds lists or objects, not one value per row; drop it")
