"""A table that is not yet encoded: the encoding is learnt on the training split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Column, Dataset
from framework.data.in_memory import ArrayDataset, select_metadata
from framework.data.row_decoder import MISSING, RowDecoder
from framework.data.unfitted import Unfitted
from framework.errors import DataError

MissingValues = Literal["indicator", "mean", "error"]


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become numbers.

    Attributes:
        scale: divide by the training standard deviation after subtracting the training mean.
        missing: `indicator`: the mean (or no category), and a column that says so; `mean`: without that
            column; `error`: refuse.
        max_categories: largest number of categories of a column; more are taken for a mistake, such as
            a name or a date.
    """

    scale: bool
    missing: MissingValues
    max_categories: int


class RawTable(Unfitted):
    """Rows of a table.

    Args:
        numeric: (rows, numeric columns) float64, NaN where missing.
        numeric_names: of those columns.
        categories: the categorical columns; -1 where missing.
        targets: (rows,) int64 or float32.
        spec: of the targets; the width of the inputs is not known yet.
        columns: metadata.
        extra: per-row numbers for the policy.
        encoding: how to encode.
    """

    def __init__(
        self,
        numeric: np.ndarray,
        numeric_names: tuple[str, ...],
        categories: dict[str, Column],
        targets: np.ndarray,
        spec: DataSpec,
        columns: dict[str, Column],
        extra: dict[str, np.ndarray],
        encoding: Encoding,
    ) -> None:
        self.numeric = numeric
        self.numeric_names = numeric_names
        self.categories = categories
        self.targets = targets
        self.spec = spec
        self.columns = columns
        self.extra = extra
        self.encoding = encoding

    def __len__(self) -> int:
        return len(self.targets)

    def select(self, positions: np.ndarray) -> RawTable:
        """The rows at `positions`."""
        columns, extra = select_metadata(self, positions)
        categories = {name: Column(c.values[positions], c.names) for name, c in self.categories.items()}
        return RawTable(
            self.numeric[positions],
            self.numeric_names,
            categories,
            self.targets[positions],
            self.spec,
            columns,
            extra,
            self.encoding,
        )

    def fitted(self, training: Dataset) -> ArrayDataset:
        """Scaled numbers, then one column per category that occurs in training, (rows, features).

        Raises:
            DataError: values are missing and the encoding refuses that, or a column has too many categories.
        """
        assert isinstance(training, RawTable)
        if self.encoding.missing == "error":
            self._refuse_missing()
        mean, deviation = training._moments()
        scale = deviation if self.encoding.scale else np.ones_like(deviation)
        shift = mean if self.encoding.scale else np.zeros_like(mean)
        flagged = np.isnan(training.numeric).any(axis=0) & (self.encoding.missing == "indicator")
        present = {name: training._present(name) for name in self.categories}

        values = (np.where(np.isnan(self.numeric), mean, self.numeric) - shift) / scale
        blocks = [values, np.isnan(self.numeric)[:, flagged].astype(np.float64), *self._one_hot(present)]
        inputs = np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")
        spec = DataSpec((inputs.shape[1],), self.spec.num_classes, self.spec.class_names)
        names = {c: [_name(column, value) for value in present[c]] for c, column in self.categories.items()}
        decoder = RowDecoder(self.numeric_names, shift, scale, flagged, names)
        return ArrayDataset(
            torch.from_numpy(inputs), torch.from_numpy(self.targets), spec, self.columns, self.extra, decoder
        )

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (numeric columns,) of the known values; 1 for a constant column."""
        known = ~np.isnan(self.numeric)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, self.numeric, 0).sum(axis=0) / count
        variance = (np.where(known, self.numeric - mean, 0) ** 2).sum(axis=0) / count
        return mean, np.where(variance > 0, np.sqrt(variance), 1)

    def _present(self, name: str) -> np.ndarray:
        """The ids that column `name` has here, -1 among them if missing values are a category."""
        present = np.unique(self.categories[name].values)
        return present if self.encoding.missing == "indicator" else present[present >= 0]

    def _one_hot(self, categories: dict[str, np.ndarray]) -> list[np.ndarray]:
        """(rows, categories) of 0 and 1 for each column; a category that training lacks gives zeros."""
        blocks = []
        for name, column in self.categories.items():
            present = categories[name]
            if len(present) > self.encoding.max_categories:
                raise DataError(
                    f"column '{name}' has {len(present)} categories in training, more than"
                    f" max_categories={self.encoding.max_categories}; drop the column or raise the limit"
                )
            blocks.append((column.values[:, None] == present[None, :]).astype(np.float64))
        return blocks

    def _refuse_missing(self) -> None:
        counts = dict(zip(self.numeric_names, np.isnan(self.numeric).sum(axis=0), strict=True))
        counts |= {name: (column.values < 0).sum() for name, column in self.categories.items()}
        holes = [f"{name} ({count})" for name, count in counts.items() if count]
        if holes:
            raise DataError(
                f"values are missing in {', '.join(holes)};"
                " drop these columns or set `missing` to indicator or mean"
            )


def _name(column: Column, value: int) -> str:
    return column.names[value] if value >= 0 else MISSING
