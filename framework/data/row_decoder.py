"""An encoded row of a table back in the words of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

MISSING = "(missing)"
_UNKNOWN = "(not in training)"


@dataclass(frozen=True)
class RowDecoder:
    """Undoes the encoding of `RawTable.fitted`.

    Attributes:
        numeric_names: of the numeric columns, which come first in a row.
        shift: (numeric columns,) what was subtracted.
        scale: (numeric columns,) what was divided by afterwards.
        flagged: (numeric columns,) bool, those that have a feature which says that the value is missing.
        categories: the categories of each categorical column, in the order of their features.
    """

    numeric_names: tuple[str, ...]
    shift: np.ndarray
    scale: np.ndarray
    flagged: np.ndarray
    categories: Mapping[str, Sequence[str]]

    def __call__(self, inputs: Tensor) -> dict[str, str]:
        """Column -> text of one row (features,)."""
        row = inputs.double().numpy()
        count = len(self.numeric_names)
        values = row[:count] * self.scale + self.shift
        fields = {name: f"{value:.6g}" for name, value in zip(self.numeric_names, values, strict=True)}
        start = count + int(self.flagged.sum())
        for place, is_missing in zip(np.flatnonzero(self.flagged), row[count:start], strict=True):
            if is_missing:
                fields[self.numeric_names[place]] = MISSING
        for name, names in self.categories.items():
            features = row[start : start + len(names)]
            fields[name] = names[int(features.argmax())] if features.any() else _UNKNOWN
            start += len(names)
        return fields
