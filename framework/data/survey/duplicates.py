"""Samples with the same inputs, in one split or in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from framework.data.survey.samples import SplitSurvey


@dataclass(frozen=True)
class Duplicate:
    """A sample whose inputs are, bit by bit, those of an earlier one.

    Attributes:
        split: of the earlier sample.
        position: of the earlier sample.
        other_split: of this one.
        other_position: of this one.
        same_target: whether the targets are equal as well.
    """

    split: str
    position: int
    other_split: str
    other_position: int
    same_target: bool

    @property
    def across(self) -> bool:
        """Whether the two are in different splits."""
        return self.split != self.other_split


def find_duplicates(surveys: Sequence[SplitSurvey]) -> list[Duplicate]:
    """Every sample that was met before: its first occurrence in the order of the splits, one entry each.

    A sample of a later split that occurs in an earlier split is told by the first of these.
    """
    first: dict[bytes, tuple[str, int, bytes]] = {}
    found = []
    for survey in surveys:
        hashes = zip(survey.inputs.tolist(), survey.targets.tolist(), survey.positions.tolist(), strict=True)
        for inputs, target, position in hashes:
            earlier = first.setdefault(inputs, (survey.name, position, target))
            if earlier[:2] != (survey.name, position):
                found.append(Duplicate(*earlier[:2], survey.name, position, earlier[2] == target))
    return found
