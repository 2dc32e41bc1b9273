"""Everything that can be seen of a run's data before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from framework.config.schema import DataConfig
from framework.data.build import Data, build_data, raw_splits
from framework.data.survey.duplicates import Duplicate, find_duplicates
from framework.data.survey.samples import SplitSurvey, survey_split
from framework.data.survey.table_columns import TableColumn, table_columns


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        data: as training gets it, transforms done.
        splits: what the samples of each split hold, training first.
        class_counts: split -> (classes,) samples; empty where targets are no classes.
        group_counts: split -> (groups,) samples.
        unnamed: (split, column, samples) that have no value in a column of metadata.
        duplicates: samples with the same inputs.
        columns: of a table, as they stand in the file.
    """

    data: Data
    splits: Sequence[SplitSurvey]
    class_counts: Mapping[str, np.ndarray]
    group_counts: Mapping[str, np.ndarray]
    unnamed: Sequence[tuple[str, str, int]]
    duplicates: Sequence[Duplicate]
    columns: Sequence[TableColumn]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class."""
        spec = self.data.spec
        return spec.class_names or tuple(map(str, range(spec.num_classes or 0)))


def survey_data(config: DataConfig, seed: int, limit: int | None) -> Survey:
    """Build the data of a run and look at `limit` samples of each split, or at all.

    Counts are of all samples in any case, and so are the columns of tables.

    Raises:
        ConfigError: an option does not fit the data.
        DataError: a file is missing or broken, or no sample of a split can be read.
    """
    raw = raw_splits(config, seed)
    columns = table_columns(raw)
    data = build_data(config, seed, raw)
    names = sorted(data.splits, key=lambda name: name != "train")
    splits = [survey_split(name, data.splits[name], limit) for name in names]
    num_classes = data.spec.num_classes
    class_counts = {}
    if num_classes is not None:
        for name in names:
            values = data.splits[name].columns["label"].values
            class_counts[name] = np.bincount(values[values >= 0], minlength=num_classes)
    group_counts = {
        name: np.bincount(data.groups.assign(data.splits[name], name), minlength=len(data.groups))
        for name in names
    }
    unnamed = [
        (name, column, int((found.values < 0).sum()))
        for name in names
        for column, found in data.splits[name].columns.items()
        if (found.values < 0).any()
    ]
    return Survey(data, splits, class_counts, group_counts, unnamed, find_duplicates(splits), columns)
