import numpy as np
import pytest

from framework.data.dataset import Dataset, Splits
from tests.data_samples import component, labelled

BALANCED = np.arange(1000) % 10


def labels(dataset: Dataset) -> np.ndarray:
    targets = dataset.fetch(np.arange(len(dataset)), None)[1].numpy()
    assert np.array_equal(targets, dataset.columns["label"].values)
    return targets


def ids(dataset: Dataset) -> list[int]:
    inputs = dataset.fetch(np.arange(len(dataset)), None)[0]
    return [int(i) for i in inputs[:, 0]]  # type: ignore[index, call-overload]


def splits() -> Splits:
    return {"train": labelled(BALANCED), "test": labelled(BALANCED[:50])}


def test_long_tail_exponential_counts_by_hand() -> None:
    made = component("transform", "long_tail", factor=20)(splits())
    # 100 x 20^(-k/9) for k = 0 ... 9, rounded
    assert np.bincount(labels(made["train"])).tolist() == [100, 72, 51, 37, 26, 19, 14, 10, 7, 5]
    assert len(made["test"]) == 50
    assert ids(made["train"]) == sorted(ids(made["train"]))
    assert ids(made["train"]) == ids(component("transform", "long_tail", factor=20)(splits())["train"])
    assert ids(made["train"]) != ids(
        component("transform", "long_tail", seed=1, factor=20)(splits())["train"]
    )


def test_long_tail_step_and_order_of_the_classes() -> None:
    options = {"kind": "step", "minority": 0.3, "factor": 50, "classes": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}
    made = component("transform", "long_tail", **options)(splits())
    assert np.bincount(labels(made["train"])).tolist() == [2] * 3 + [100] * 7


def test_long_tail_of_unequal_classes_takes_no_more_than_there_is() -> None:
    uneven = {"train": labelled(np.repeat([0, 1, 2], [100, 20, 50]))}
    made = component("transform", "long_tail", factor=10)(uneven)
    assert np.bincount(labels(made["train"])).tolist() == [100, 20, 10]


@pytest.mark.parametrize("kind", ["uniform", "next"])
def test_label_noise_changes_exactly_the_rate_and_says_where(kind: str) -> None:
    made = component("transform", "label_noise", rate=0.3, kind=kind)(splits())
    wrong = labels(made["train"]) != BALANCED
    assert wrong.sum() == 300
    assert np.array_equal(made["train"].columns["noisy"].values, wrong.astype(int))
    assert made["train"].columns["noisy"].names == ("clean", "noisy")
    assert np.array_equal(labels(made["test"]), BALANCED[:50])
    assert not made["test"].columns["noisy"].values.any()
    shift = (labels(made["train"]) - BALANCED)[wrong] % 10
    assert set(shift) == ({1} if kind == "next" else set(range(1, 10)))


def test_merge_classes_makes_even_and_odd_and_keeps_the_digit() -> None:
    classes = {"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]}
    made = component("transform", "merge_classes", classes=classes)(splits())
    for name, old in splits().items():
        assert np.array_equal(labels(made[name]), labels(old) % 2)
        assert np.array_equal(made[name].columns["fine_label"].values, labels(old))
        assert made[name].spec.class_names == made[name].columns["label"].names == ("even", "odd")
        assert made[name].spec.num_classes == 2
    thinned = component("transform", "subsample", classes={"odd": 0.1})(made)
    assert np.bincount(labels(thinned["train"])).tolist() == [500, 50]
    assert len(thinned["test"]) == 50


def test_merge_classes_may_drop_the_others() -> None:
    options = {"classes": {"a": [3], "b": [1, 7]}, "drop_others": True, "keep": None}
    made = component("transform", "merge_classes", **options)(splits())
    assert np.bincount(labels(made["train"])).tolist() == [100, 200]
    assert all(BALANCED[i] in (3, 1, 7) for i in ids(made["train"]))
    assert set(made["train"].columns) == {"label"}


@pytest.mark.parametrize(
    ("options", "count"), [({"fraction": 0.25}, 250), ({"count": 7}, 7), ({"count": 5000}, 1000)]
)
def test_subsample_keeps_so_many_different_samples(options: dict[str, float], count: int) -> None:
    made = component("transform", "subsample", **options)(splits())
    assert len(set(ids(made["train"]))) == count
    assert len(made["test"]) == 50


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("long_tail", {"classes": ["0", "1"]}, "must name each class once"),
        ("merge_classes", {"classes": {"a": [0, 1], "b": [1]}}, "class 1 is named twice"),
        (
            "merge_classes",
            {"classes": {"a": [0], "b": [1]}},
            "class 2, 3, .* is not named; name it or set drop_others",
        ),
        ("merge_classes", {"classes": {"a": ["10"]}}, r"no class '10'"),
        ("subsample", {"classes": {"10": 0.5}}, r"no class '10'"),
        (
            "subsample",
            {"fraction": 0.5, "splits": ["validation"]},
            r"no split validation \(splits: train, test\)",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        component("transform", name, **options)(splits())
