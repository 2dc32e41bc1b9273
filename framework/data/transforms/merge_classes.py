"""Makes a coarser task of a fine one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from framework.data.classes import class_ids, class_names
from framework.data.dataset import Dataset, Splits
from framework.data.views import with_labels
from framework.options import Name
from framework.registry import register


@register.transform("merge_classes")
@dataclass(frozen=True)
class MergeClasses:
    """Joins classes under new names, in every split; a single class may be renamed.

    Args:
        classes: new name -> the classes it takes in; the order written is the order of the new labels.
        keep: name of the metadata column that keeps the old label; null drops it.
        drop_others: remove the samples of classes that are not named, instead of refusing.
    """

    _: KW_ONLY
    classes: dict[Name, tuple[Name, ...]]
    keep: str | None = "fine_label"
    drop_others: bool = False

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with new labels."""
        return {name: self._merge(dataset) for name, dataset in splits.items()}

    def _merge(self, dataset: Dataset) -> Dataset:
        new = np.full(len(class_names(dataset)), -1, dtype=np.int64)
        for number, old in enumerate(self.classes.values()):
            ids = class_ids(dataset, old)
            twice = [name for name, i in zip(old, ids, strict=True) if new[i] >= 0]
            if twice:
                raise ValueError(f"class {', '.join(twice)} is named twice")
            new[ids] = number
        left = [name for name, label in zip(class_names(dataset), new, strict=True) if label < 0]
        if left and not self.drop_others:
            raise ValueError(f"class {', '.join(left)} is not named; name it or set drop_others=true")
        if left:
            dataset = dataset.select(np.flatnonzero(new[dataset.columns["label"].values] >= 0))
        fine = dataset.columns["label"]
        kept = {} if self.keep is None else {self.keep: fine}
        return with_labels(dataset, new[fine.values], tuple(self.classes), kept)
