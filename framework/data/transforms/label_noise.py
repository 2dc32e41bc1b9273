"""Gives a share of the training samples a wrong label."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np

from framework.data.classes import class_names
from framework.data.dataset import Column, Splits
from framework.data.randomness import generator
from framework.data.views import with_columns, with_labels
from framework.options import Fraction
from framework.registry import register


@register.transform("label_noise")
@dataclass(frozen=True)
class LabelNoise:
    """Changes the label of a share of the training samples; column `noisy` says of which.

    Args:
        rate: share of the training samples whose label is wrong afterwards.
        kind: `uniform` draws the wrong label from all other classes; `next` takes the following class.
    """

    seed: int
    _: KW_ONLY
    rate: Fraction
    kind: Literal["uniform", "next"] = "uniform"

    def __call__(self, splits: Splits) -> Splits:
        """The same splits; those other than `train` keep their labels."""
        training = splits["train"]
        names = class_names(training)
        if len(names) < 2:
            raise ValueError("label noise needs two classes or more")
        random = generator(self.seed, "label_noise")
        wrong = random.permutation(len(training))[: round(self.rate * len(training))]
        shift = random.integers(1, len(names), size=len(wrong)) if self.kind == "uniform" else 1
        labels = training.columns["label"].values.copy()
        labels[wrong] = (labels[wrong] + shift) % len(names)
        result = {name: with_columns(dataset, _noisy(len(dataset))) for name, dataset in splits.items()}
        result["train"] = with_labels(training, labels, names, _noisy(len(training), wrong))
        return result


def _noisy(count: int, wrong: np.ndarray | None = None) -> dict[str, Column]:
    values = np.zeros(count, dtype=np.int64)
    if wrong is not None:
        values[wrong] = 1
    return {"noisy": Column(values, ("clean", "noisy"))}
