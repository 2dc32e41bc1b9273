"""Cuts the training samples of a source into disjoint splits."""

from __future__ import annotations

import numpy as np

from framework.config.schema import SplitConfig
from framework.data.dataset import Dataset, Splits
from framework.data.randomness import generator
from framework.errors import ConfigError, DataError, Problem
from framework.naming import nearest

#: values with too few samples that a message names
_MAX_NAMED = 5


def make_splits(given: Splits, config: SplitConfig, seed: int) -> Splits:
    """The splits of the source and those cut from its `train`, by the shares of `config`.

    Raises:
        ConfigError: a split has both a share and samples from the source, or the shares leave nothing.
        DataError: a value of the stratified column has too few samples.
    """
    shares = {"validation": config.validation, "test": config.test}
    brought = [name for name, share in shares.items() if share and name in given]
    if brought:
        problems = [
            Problem(
                f"data.splits.{name}", f"the source brings its own {name} split; set data.splits.{name}=0"
            )
            for name in brought
        ]
        raise ConfigError(problems)
    shares = {name: share for name, share in shares.items() if share}
    if sum(shares.values()) >= 1:
        text = " + ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ConfigError([Problem("data.splits", f"the shares ({text}) leave nothing for training")])
    if not shares:
        return dict(given)
    strata = _strata(given["train"], config.stratify, num_splits=1 + len(shares))
    random = generator(seed if config.seed is None else config.seed, "splits")
    parts = _cut(strata, shares, random)
    cut = {name: given["train"].select(positions) for name, positions in parts.items()}
    return {**cut, **{name: dataset for name, dataset in given.items() if name != "train"}}


def _strata(dataset: Dataset, column: str | None, num_splits: int) -> list[np.ndarray]:
    """Positions of the samples of each value of `column`, or all in one."""
    if column is None:
        strata = {"": np.arange(len(dataset))}
    elif column in dataset.columns:
        values, names = dataset.columns[column].values, dataset.columns[column].names
        strata = {
            f" of {column}={names[v] if v >= 0 else '(no value)'}": np.flatnonzero(values == v)
            for v in np.unique(values)
        }
    else:
        offer = nearest(column, dataset.columns) or f" (one of: {', '.join(dataset.columns) or 'none'})"
        message = f"no column '{column}'{offer}; null splits without regard to a column"
        raise ConfigError([Problem("data.splits.stratify", message)])
    few = [f"{len(strata[name])}{name}" for name in strata if len(strata[name]) < num_splits]
    if few or not strata:
        more = f" and {len(few) - _MAX_NAMED:,} more" if len(few) > _MAX_NAMED else ""
        listed = ", ".join(few[:_MAX_NAMED]) or "0"
        raise DataError(
            f"too few samples for {num_splits} splits that each hold every value: {listed}{more};"
            " merge or drop such values, cut fewer splits, or set data.splits.stratify to null"
        )
    return list(strata.values())


def _cut(
    strata: list[np.ndarray], shares: dict[str, float], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Sorted positions of each split; every stratum has at least one sample in each."""
    sizes = np.array([len(stratum) for stratum in strata])
    taken = np.stack([np.maximum(_allotment(sizes, share), 1) for share in shares.values()])
    for small in np.flatnonzero(taken.sum(axis=0) >= sizes):
        while taken[:, small].sum() >= sizes[small]:
            taken[taken[:, small].argmax(), small] -= 1
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *shares)}
    for number, stratum in enumerate(strata):
        pieces = np.split(random.permutation(stratum), np.cumsum(taken[:, number]))
        for name, piece in zip((*shares, "train"), pieces, strict=True):
            parts[name].append(piece)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in parts.items()}


def _allotment(sizes: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers close to share x sizes whose sum is share x the sum, by largest remainder."""
    quota = share * sizes
    counts = np.floor(quota).astype(np.int64)
    missing = round(share * int(sizes.sum())) - int(counts.sum())
    counts[np.argsort(counts - quota, kind="stable")[:missing]] += 1
    return counts
