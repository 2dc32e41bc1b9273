"""Adds an attribute that goes with the label in training and does not in the test."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from framework.data.classes import class_names
from framework.data.dataset import Column, Dataset, Splits
from framework.data.randomness import generator
from framework.data.views import with_columns, with_inputs
from framework.options import Fraction, Positive
from framework.registry import register


@register.transform("spurious")
@dataclass(frozen=True)
class Spurious:
    """Gives every sample a visible attribute that agrees with its label at `rate` in training.

    Label k goes with attribute value k modulo the number of values. The numbers are exact in every
    class: of n samples, round(rate * n) agree and the others share the remaining values evenly.

    Args:
        rate: share of each class whose attribute agrees with the label, in `train`.
        evaluation_rate: the same in all other splits; null makes the attribute independent of the label.
        values: names of the attribute's values, two or more; null takes one per class, numbered.
        form: `colour` paints an image into the channel of its value, black in the others; `feature`
            appends one number per value to a feature vector, `strength` at its own and 0 elsewhere.
        strength: size of the appended number, or of the painted image relative to the original.
        column: name of the metadata column that holds the attribute.
    """

    seed: int
    _: KW_ONLY
    rate: Fraction = 0.95
    evaluation_rate: Fraction | None = None
    values: tuple[str, ...] | None = None
    form: Literal["colour", "feature"] = "colour"
    strength: Positive = 1.0
    column: str = "attribute"

    def __call__(self, splits: Splits) -> Splits:
        """The same splits with the attribute in the inputs and in a column."""
        classes = class_names(splits["train"])
        names = self.values or tuple(map(str, range(len(classes))))
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError("`values` needs two different names or more")
        shape = splits["train"].spec.input_shape
        if len(shape) != (3 if self.form == "colour" else 1):
            wanted = "images (channels, height, width)" if self.form == "colour" else "feature vectors"
            raise ValueError(f"form {self.form} needs {wanted}, not samples of shape {shape}")
        if self.column in splits["train"].columns:
            raise ValueError(f"the data already has a column '{self.column}'; choose another `column`")
        return {name: self._add(dataset, name, names) for name, dataset in splits.items()}

    def _add(self, dataset: Dataset, split: str, names: tuple[str, ...]) -> Dataset:
        even = 1 / len(names)
        rate = (
            self.rate
            if split == "train"
            else (even if self.evaluation_rate is None else self.evaluation_rate)
        )
        random = generator(self.seed, "spurious", split)
        attribute = _correlated(dataset.columns["label"].values, len(names), rate, random)
        show = _Show(attribute, len(names), self.form, self.strength)
        first, *rest = dataset.spec.input_shape
        shape = (first * len(names) if self.form == "colour" else first + len(names), *rest)
        return with_columns(with_inputs(dataset, show, shape), {self.column: Column(attribute, names)})


def _correlated(labels: np.ndarray, num_values: int, rate: float, random: np.random.Generator) -> np.ndarray:
    """Attribute values (n,) that agree with the label in exactly the share `rate` of each class."""
    attribute = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        agreeing = round(rate * len(members))
        # the others run through the values that do not agree, from a random one on
        shifts = 1 + (np.arange(len(members) - agreeing) + random.integers(num_values)) % (num_values - 1)
        attribute[members] = label % num_values
        attribute[members[agreeing:]] = (label + shifts) % num_values
    return attribute


@dataclass(frozen=True)
class _Show:
    """Makes the attribute of sample i, `attribute[i]`, visible in its inputs."""

    attribute: np.ndarray
    num_values: int
    form: str
    strength: float

    def __call__(self, inputs: Tensor, ids: np.ndarray, epoch: int | None) -> Tensor:
        values = torch.from_numpy(self.attribute[ids])
        one_hot = self.strength * torch.nn.functional.one_hot(values, self.num_values).to(inputs.dtype)
        if self.form == "feature":
            return torch.cat([inputs, one_hot], dim=1)
        painted = one_hot.view(-1, self.num_values, 1, 1, 1) * inputs.unsqueeze(1)
        return painted.flatten(1, 2)
