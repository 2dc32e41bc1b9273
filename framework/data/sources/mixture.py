"""Several sources as one, each a domain."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import Field

from framework.data.batch import DataSpec
from framework.data.dataset import Dataset, Splits
from framework.data.mixed import Mixed
from framework.data.raw_table import RawTable
from framework.errors import DataError
from framework.registry import Of, register


@register.dataset("mixture")
def mixture(
    *,
    sources: Annotated[dict[str, Annotated[Splits, Of("dataset")]], Field(min_length=1)],
    column: str = "domain",
) -> Splits:
    """The samples of several sources together; a column says which source each one is of.

    Inputs, classes and splits of the sources must agree. How often each source is drawn is a matter of
    `data.sampling`: in proportion to its samples, or `weighted`.

    Args:
        sources: name -> the section of a dataset.
        column: what the column of the names is called; it replaces one of the same name.
    """
    _check_splits(sources)
    for name, splits in sources.items():
        if isinstance(splits["train"], RawTable):
            raise DataError(
                f"source '{name}' of the mixture is a table, whose encoding would be learnt apart from that"
                " of the others; put the rows into one file with a column that says where each is from"
            )
    _check_specs({name: splits["train"] for name, splits in sources.items()})
    first = next(iter(sources.values()))
    return {split: Mixed({name: s[split] for name, s in sources.items()}, column) for split in first}


def _check_splits(given: dict[str, Splits]) -> None:
    brought = {name: ", ".join(splits) for name, splits in given.items()}
    if len({frozenset(splits) for splits in given.values()}) > 1:
        text = "; ".join(f"'{name}' {splits}" for name, splits in brought.items())
        raise DataError(f"the sources of the mixture bring different splits: {text}")


def _check_specs(datasets: dict[str, Dataset]) -> None:
    """Raises DataError that names every fact in which a source differs from the first."""
    (first, reference), *others = datasets.items()
    faults = [
        f"'{name}' has {fact.name} {_shown(getattr(dataset.spec, fact.name))}"
        f" and '{first}' has {_shown(getattr(reference.spec, fact.name))}"
        for name, dataset in others
        for fact in fields(DataSpec)
        if getattr(dataset.spec, fact.name) != getattr(reference.spec, fact.name)
    ]
    if faults:
        raise DataError(f"the sources of the mixture do not fit together: {'; '.join(faults)}")


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."
