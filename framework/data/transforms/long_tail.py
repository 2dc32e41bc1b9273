"""Turns a balanced training split into a long-tailed one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from framework.data.classes import class_ids, class_members, class_names
from framework.data.dataset import Splits
from framework.data.randomness import generator
from framework.options import Name, OpenFraction
from framework.registry import register


@register.transform("long_tail")
@dataclass(frozen=True)
class LongTail:
    """Thins the classes of the training split: class k of C keeps n * factor^(-k / (C - 1)) samples.

    n is the size of the first class; a class that has fewer samples than its share keeps them all.

    Args:
        factor: size of the first class over size of the last.
        kind: `exponential` as above; `step` keeps n for the majority and n / factor for the minority.
        minority: share of the classes, from the end of the order, that `step` thins.
        classes: class names from the most frequent to the rarest; null keeps the order of the labels.
    """

    seed: int
    _: KW_ONLY
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 20.0
    kind: Literal["exponential", "step"] = "exponential"
    minority: OpenFraction = 0.5
    classes: tuple[Name, ...] | None = None

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with a thinned `train`; its samples keep their order."""
        training = splits["train"]
        names = class_names(training)
        order = class_ids(training, names if self.classes is None else self.classes)
        if sorted(order) != list(range(len(names))):
            raise ValueError(f"`classes` must name each class once; the classes are {', '.join(names)}")
        members = class_members(training)
        random = generator(self.seed, "long_tail")
        kept = [
            random.permutation(members[number])[:count]
            for number, count in zip(order, self._counts(len(members[order[0]]), len(order)), strict=True)
        ]
        return {**splits, "train": training.select(np.sort(np.concatenate(kept)))}

    def _counts(self, most: int, num_classes: int) -> list[int]:
        """Samples to keep, in the order of the classes; at least one each."""
        if self.kind == "step":
            num_minority = round(self.minority * num_classes)
            exponents = [0.0] * (num_classes - num_minority) + [1.0] * num_minority
        else:
            exponents = [k / max(num_classes - 1, 1) for k in range(num_classes)]
        return [max(round(most * self.factor**-exponent), 1) for exponent in exponents]
