"""What somebody should know of the data before training on it, in sentences, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from framework.data.survey.duplicates import Duplicate
from framework.data.survey.survey import Survey

#: of a group with fewer samples a measured accuracy says little
FEW = 10
#: how many times the smallest the largest must be to be called imbalanced
IMBALANCED = 10
_MAX_NAMED = 5


def findings(survey: Survey) -> list[str]:
    """One sentence or two each; empty if nothing is unusual."""
    return [
        *_unreadable(survey),
        *_not_finite(survey),
        *_across(survey),
        *_missing_groups(survey),
        *_contradictions(survey),
        *_within(survey),
        *_missing_values(survey),
        *_constant(survey),
        *_few(survey),
        *_imbalance(survey),
        *_cut_texts(survey),
        *_sampled(survey),
    ]


def _unreadable(survey: Survey) -> Iterator[str]:
    for split in survey.splits:
        if split.faults:
            count = sum(len(fault.positions) for fault in split.faults)
            many = _many(count, "sample", "samples")
            first = split.faults[0]
            stops = survey.data.quarantine is None
            then = "Training stops there" if stops else "They are left out of training"
            yield f"{split.name}: {many} cannot be read; the first: {first.name}: {first.reason}. {then}."


def _not_finite(survey: Survey) -> Iterator[str]:
    for split in survey.splits:
        moments = split.moments
        if moments is None:
            continue
        for counts, what in ((moments.missing, "missing (NaN)"), (moments.infinite, "infinite")):
            if counts.any():
                worst = int(counts.argmax())
                many = _many(int(counts.sum()), "number of the inputs is", "numbers of the inputs are")
                yield (
                    f"{split.name}: {many} {what}, most at place {worst} ({int(counts[worst]):,})."
                    " Training on that gives NaN."
                )


def _across(survey: Survey) -> Iterator[str]:
    pairs: dict[tuple[str, str], list[Duplicate]] = {}
    for duplicate in survey.duplicates:
        if duplicate.across:
            pairs.setdefault((duplicate.split, duplicate.other_split), []).append(duplicate)
    for (split, other), found in pairs.items():
        named = _listed([f"{d.other_position} = {d.position}" for d in found])
        yield (
            f"{_many(len(found), 'sample', 'samples')} of {other} with exactly the inputs of one in {split}:"
            f" {other} measures memory as well (positions {other} = {split}: {named})."
        )


def _contradictions(survey: Survey) -> Iterator[str]:
    found = [duplicate for duplicate in survey.duplicates if not duplicate.same_target]
    if found:
        named = _listed([f"{d.split} {d.position} and {d.other_split} {d.other_position}" for d in found])
        many = _many(len(found), "sample has", "samples have")
        yield f"{many} the inputs of another one and a different target: {named}."


def _within(survey: Survey) -> Iterator[str]:
    for split in survey.splits:
        found = [d for d in survey.duplicates if not d.across and d.split == split.name]
        if found:
            named = _listed([f"{d.other_position} = {d.position}" for d in found])
            many = _many(len(found), "exact copy", "exact copies")
            yield f"{split.name} holds {many} of its own samples (positions {named})."


def _missing_groups(survey: Survey) -> Iterator[str]:
    names = survey.data.groups.names
    for split, counts in survey.group_counts.items():
        absent = [names[number] for number in np.flatnonzero(counts == 0)]
        if absent:
            cannot = "cannot be learnt" if split == "train" else f"cannot be measured on {split}"
            yield f"{split} has no sample of {_groups(absent)}, which {cannot}."


def _few(survey: Survey) -> Iterator[str]:
    names = survey.data.groups.names
    for split, counts in survey.group_counts.items():
        few = [f"{names[n]} ({counts[n]})" for n in np.flatnonzero((counts > 0) & (counts < FEW))]
        if few and split == "train":
            yield f"train has fewer than {FEW} samples of {_groups(few)}."
        elif few:
            yield (
                f"{split} has fewer than {FEW} samples of {_groups(few)}: what is measured there, the worst"
                " group above all, is mostly chance."
            )


def _imbalance(survey: Survey) -> Iterator[str]:
    classes = ("classes", survey.class_names, survey.class_counts.get("train", np.zeros(0)))
    groups = ("groups", survey.data.groups.names, survey.group_counts["train"])
    for what, names, counts in (classes, groups):
        there = np.flatnonzero(counts)
        if len(there) < 2 or (what == "groups" and survey.data.groups.columns == ("label",)):
            continue
        small, large = there[counts[there].argmin()], there[counts[there].argmax()]
        if counts[large] >= IMBALANCED * counts[small]:
            yield (
                f"The {what} are imbalanced in training: {names[large]} has {counts[large]:,} samples,"
                f" {counts[large] / counts[small]:,.0f} times as many as {names[small]} ({counts[small]:,})."
            )


def _missing_values(survey: Survey) -> Iterator[str]:
    for column in survey.columns:
        if any(column.missing.values()):
            text = ", ".join(f"{count:,} of {split}" for split, count in column.missing.items() if count)
            yield f"Column {column.name} has no value in {text}."
    for split, name, count in survey.unnamed:
        yield f"{split}: {_many(count, 'sample has', 'samples have')} no value in the metadata column {name}."


def _constant(survey: Survey) -> Iterator[str]:
    for column in survey.columns:
        if column.constant:
            yield f"Column {column.name} has the same value in all training samples ({column.content})."
    training = survey.splits[0]
    if not survey.columns and training.constant is not None:
        count, total = training.constant
        is_image = len(survey.data.spec.input_shape) == 3
        # many pictures have an empty border
        if count > (total / 2 if is_image else 0):
            unit = "pixels" if is_image else "features"
            yield f"{count:,} of {total:,} {unit} are the same in all training samples that were read."
    for name, facts in survey.data.splits["train"].columns.items():
        first = int(facts.values[0])
        if name != "label" and (facts.values == first).all():
            value = facts.names[first] if first >= 0 else "no value"
            yield f"The metadata column {name} has one value in training: {value}."


def _cut_texts(survey: Survey) -> Iterator[str]:
    spec = survey.data.spec
    for split in survey.splits:
        if split.lengths is not None and not spec.next_tokens and len(split.lengths):
            full = float((split.lengths >= spec.input_shape[0]).mean())
            if full > 0.05:
                yield (
                    f"{split.name}: {full:.0%} of the texts fill all {spec.input_shape[0]} tokens, so they"
                    " were probably cut; a larger `length` keeps more of them."
                )


def _sampled(survey: Survey) -> Iterator[str]:
    partly = [f"{s.num_asked:,} of {s.size:,} in {s.name}" for s in survey.splits if not s.is_whole]
    if partly:
        yield (
            f"Only a part of the samples was read ({', '.join(partly)}); duplicates, ranges and lengths are"
            " of these. --samples all reads everything."
        )


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _groups(names: Sequence[str]) -> str:
    return f"group{'s' if len(names) > 1 else ''} {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return "; ".join(names[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
