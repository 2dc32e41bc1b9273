import numpy as np
import pytest

from framework.data.dataset import Splits
from framework.data.groups import column_groups, sample_groups
from framework.errors import ConfigError, DataError
from tests.data_samples import labelled

SEA = ("land", "water")


def birds() -> Splits:
    return {
        "train": labelled(
            [0, 0, 1, 1, 0], columns={"background": ([0, 0, 1, 1, 1], SEA)}, names=("dry", "wet")
        ),
        "test": labelled([0, 1], columns={"background": ([0, 0], SEA)}, names=("dry", "wet")),
    }


def test_one_column_gives_its_value_names() -> None:
    table = column_groups(birds(), ["label"], allow_other=False)
    assert table.names == ("dry", "wet")
    assert table.counts.tolist() == [3, 2]
    assert table.assign(birds()["test"]).tolist() == [0, 1]


def test_several_columns_give_the_combinations_that_occur_in_any_split() -> None:
    table = column_groups(birds(), ["label", "background"], allow_other=False)
    assert table.names == (
        "label=dry, background=land",
        "label=dry, background=water",
        "label=wet, background=land",
        "label=wet, background=water",
    )
    assert table.counts.tolist() == [2, 1, 0, 2]
    assert table.assign(birds()["train"]).tolist() == [0, 0, 3, 3, 1]
    assert table.assign(birds()["train"]).dtype == np.int64


def test_names_decide_when_splits_number_their_values_differently() -> None:
    splits = birds()
    splits["test"] = labelled(
        [0, 1], columns={"background": ([0, 1], ("water", "land"))}, names=("dry", "wet")
    )
    table = column_groups(splits, ["background"], allow_other=False)
    assert [table.names[i] for i in table.assign(splits["test"])] == ["water", "land"]


def test_no_column_is_one_group_of_everything() -> None:
    table = column_groups(birds(), [], allow_other=False)
    assert (table.names, table.counts.tolist()) == (("all",), [5])


def test_a_sample_without_value_is_an_error_that_names_the_group() -> None:
    splits = birds()
    splits["test"] = labelled([0, 1, 1], columns={"background": ([0, -1, -1], SEA)}, names=("dry", "wet"))
    message = r"split 'test': unknown group label=wet, background=\(no value\) \(2 samples\)"
    with pytest.raises(DataError, match=message):
        column_groups(splits, ["label", "background"], allow_other=False)
    table = column_groups(splits, ["label", "background"], allow_other=True)
    assert table.names[-1] == "other"
    assert table.counts[-1] == 0
    assert table.assign(splits["test"]).tolist() == [0, len(table) - 1, len(table) - 1]


def test_a_combination_of_another_data_set_is_an_error() -> None:
    table = column_groups({"train": birds()["train"]}, ["label", "background"], allow_other=False)
    with pytest.raises(
        DataError, match=r"split 'test': unknown group label=wet, background=land \(1 samples\)"
    ):
        table.assign(birds()["test"], "test")


def test_a_missing_column_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"split 'train' has no column 'backgruond'; did you mean background\?"
    ):
        column_groups(birds(), ["backgruond"], allow_other=False)


def test_each_sample_may_be_its_own_group() -> None:
    table = sample_groups(birds()["train"])
    assert len(table) == 5
    assert table.assign(birds()["train"]).tolist() == [0, 1, 2, 3, 4]
    assert table.counts.tolist() == [1] * 5
