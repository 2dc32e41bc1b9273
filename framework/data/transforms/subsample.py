"""Keeps a part of the samples."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from framework.data.classes import class_ids, class_members
from framework.data.dataset import Dataset, Splits
from framework.data.randomness import generator
from framework.options import Count, Fraction, Name
from framework.registry import register


@register.transform("subsample")
@dataclass(frozen=True)
class Subsample:
    """Keeps a random share or number of the samples, of all classes or of those named.

    Args:
        fraction: share of the samples to keep.
        count: number of samples to keep; a split that has fewer keeps them all.
        classes: share to keep of each class that is named; the others are kept whole.
        splits: the splits that are thinned.
    """

    seed: int
    _: KW_ONLY
    fraction: Fraction | None = None
    count: Count | None = None
    classes: dict[Name, Fraction] | None = None
    splits: tuple[str, ...] = ("train",)

    def __post_init__(self) -> None:
        if sum(option is not None for option in (self.fraction, self.count, self.classes)) != 1:
            raise ValueError("give exactly one of fraction, count and classes")

    def __call__(self, splits: Splits) -> Splits:
        """The same splits, thinned; samples keep their order."""
        missing = [name for name in self.splits if name not in splits]
        if missing:
            raise ValueError(f"no split {', '.join(missing)} (splits: {', '.join(splits)})")
        return {
            name: self._thin(dataset, name) if name in self.splits else dataset
            for name, dataset in splits.items()
        }

    def _thin(self, dataset: Dataset, split: str) -> Dataset:
        random = generator(self.seed, "subsample", split)
        if self.classes is None:
            count = self.count if self.fraction is None else round(self.fraction * len(dataset))
            return dataset.select(np.sort(random.permutation(len(dataset))[:count]))
        kept = np.ones(len(dataset), dtype=bool)
        numbers, members_of = class_ids(dataset, list(self.classes)), class_members(dataset)
        for number, share in zip(numbers, self.classes.values(), strict=True):
            members = random.permutation(members_of[number])
            kept[members[round(share * len(members)) :]] = False
        return dataset.select(np.flatnonzero(kept))
