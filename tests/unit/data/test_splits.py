import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from framework.config.schema import SplitConfig
from framework.data.dataset import Splits
from framework.data.splits import make_splits
from framework.errors import ConfigError, DataError
from tests.data_samples import labelled


def ids(splits: Splits) -> dict[str, list[int]]:
    found = {}
    for name, dataset in splits.items():
        inputs = dataset.fetch(np.arange(len(dataset)), None)[0]
        found[name] = [int(value) for value in inputs[:, 0]]  # type: ignore[index, call-overload]
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=120),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
    st.booleans(),
    st.integers(0, 5),
)
def test_splits_are_disjoint_cover_everything_and_depend_on_the_seed_alone(
    labels: list[int], validation: float, test: float, stratify: bool, seed: int
) -> None:
    config = SplitConfig(validation=validation, test=test, stratify="label" if stratify else None)
    given_splits: Splits = {"train": labelled(labels)}
    try:
        splits = ids(make_splits(given_splits, config, seed))
    except DataError:
        assert min(np.unique(labels, return_counts=True)[1]) < 3
        return
    assert sorted(i for part in splits.values() for i in part) == list(range(len(labels)))
    assert all(part for part in splits.values())
    assert splits == ids(make_splits(given_splits, config, seed))
    if stratify:
        for part in splits.values():
            assert set(np.array(labels)[part]) == set(labels)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.37])
def test_stratified_counts_are_those_of_scikit_learn(share: float) -> None:
    labels = np.repeat([0, 1, 2, 3], [211, 97, 40, 13])
    splits = ids(make_splits({"train": labelled(labels)}, SplitConfig(validation=share, test=0), 0))
    ours = np.bincount(labels[splits["validation"]])
    theirs = np.bincount(train_test_split(labels, test_size=len(splits["validation"]), stratify=labels)[1])
    assert len(splits["validation"]) == round(share * len(labels))
    # ties between equal remainders may go to another class
    assert np.abs(ours - theirs).max() <= 1


def test_another_seed_gives_another_split_and_a_fixed_one_does_not() -> None:
    given_splits: Splits = {"train": labelled([0, 1] * 50)}
    free, fixed = SplitConfig(), SplitConfig(seed=7)
    assert ids(make_splits(given_splits, free, 0)) != ids(make_splits(given_splits, free, 1))
    assert ids(make_splits(given_splits, fixed, 0)) == ids(make_splits(given_splits, fixed, 1))


def test_a_split_of_the_source_is_kept_whole() -> None:
    given_splits: Splits = {"train": labelled([0, 1] * 20), "test": labelled([1, 0, 1])}
    splits = make_splits(given_splits, SplitConfig(validation=0.25, test=0), 0)
    assert {name: len(dataset) for name, dataset in splits.items()} == {
        "train": 30,
        "validation": 10,
        "test": 3,
    }
    assert splits["test"] is given_splits["test"]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            SplitConfig(test=0.2),
            ConfigError,
            r"data\.splits\.test: the source brings its own test split; set data\.splits\.test=0",
        ),
        (
            SplitConfig(validation=1, test=0),
            ConfigError,
            "the shares .validation 1. leave nothing for training",
        ),
        (
            SplitConfig(test=0, stratify="lable"),
            ConfigError,
            r"no column 'lable'; did you mean label\?; null splits",
        ),
        (
            SplitConfig(test=0),
            DataError,
            "too few samples for 2 splits that each hold every value: 1 of label=b",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(config: SplitConfig, error: type[Exception], message: str) -> None:
    given_splits: Splits = {"train": labelled([0, 0, 0, 1], names=("a", "b")), "test": labelled([0, 1])}
    with pytest.raises(error, match=message):
        make_splits(given_splits, config, 0)


def test_a_column_of_different_values_is_not_listed_whole() -> None:
    given_splits: Splits = {"train": labelled(list(range(10)), names=tuple("abcdefghij"))}
    with pytest.raises(DataError, match="1 of label=d, 1 of label=e and 5 more; merge or drop"):
        make_splits(given_splits, SplitConfig(), 0)
