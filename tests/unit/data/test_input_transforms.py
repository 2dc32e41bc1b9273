import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from framework.data.dataset import Dataset, Splits
from framework.data.views import View, with_columns
from tests.data_samples import component, labelled


def images(n: int = 30, seed: int = 0) -> Splits:
    """Random two-channel images, so that every change can be seen."""
    dataset = labelled(np.arange(n) % 2, shape=(2, 5, 6))
    assert isinstance(dataset.inputs, Tensor)
    dataset.inputs.copy_(torch.rand(n, 2, 5, 6, generator=torch.Generator().manual_seed(seed)))
    return {"train": dataset, "test": labelled([0, 1, 0, 1], shape=(2, 5, 6))}


def lazy(splits: Splits) -> Splits:
    """The same samples as a source that reads them from files would give them: not in memory."""
    return {name: View(dataset, dataset.spec, dataset.columns) for name, dataset in splits.items()}


def read(dataset: Dataset, positions: list[int] | None = None, epoch: int | None = None) -> Tensor:
    chosen = np.arange(len(dataset)) if positions is None else np.array(positions)
    inputs = dataset.fetch(chosen, epoch)[0]
    assert isinstance(inputs, Tensor)
    assert inputs.shape[1:] == dataset.spec.input_shape
    return inputs


@pytest.mark.parametrize("source", [images, lambda: lazy(images())])
def test_standardize_measures_the_training_split_alone(source: object) -> None:
    splits: Splits = source()  # type: ignore[operator]
    made = component("transform", "standardize")(splits)
    train = read(images()["train"]).double().numpy()
    mean, deviation = train.mean((0, 2, 3)), train.std((0, 2, 3))
    for name in splits:
        expected = (read(splits[name]).numpy() - mean[:, None, None]) / deviation[:, None, None]
        assert read(made[name]).numpy() == pytest.approx(expected, abs=1e-4)


def test_standardize_merges_chunks_and_leaves_constants_at_zero() -> None:
    values = np.random.default_rng(0).normal(1000, 0.1, (3000, 2)).astype(np.float32)
    # sorted, so that the chunks have different means
    values[:, 0].sort()
    values[:, 1] = 5
    dataset = labelled(np.zeros(3000, int), shape=(2,), names=("a",))
    dataset.inputs = torch.from_numpy(values)
    made = read(component("transform", "standardize")({"train": dataset})["train"]).double()
    assert made[:, 0].mean().item() == pytest.approx(0, abs=1e-3)
    assert made[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-3)
    assert not made[:, 1].any()


def test_flatten() -> None:
    made = component("transform", "flatten")(images())
    assert torch.equal(read(made["train"]), read(images()["train"]).flatten(1))


@settings(max_examples=30, deadline=None)
@given(
    st.permutations(range(30)),
    st.integers(1, 29),
    st.integers(0, 3),
    st.sampled_from(["random_flip", "random_crop"]),
)
def test_augmentation_depends_on_sample_and_epoch_and_not_on_the_batch(
    order: list[int], cut: int, epoch: int, name: str
) -> None:
    train = component("transform", name)(images())["train"]
    whole = read(train, None, epoch)
    parts = torch.cat([read(train, order[:cut], epoch), read(train, order[cut:], epoch)])
    assert torch.equal(parts, whole[order])
    assert torch.equal(read(train.select(np.array(order)), None, epoch), parts)


@pytest.mark.parametrize("name", ["random_flip", "random_crop"])
def test_augmentation_differs_between_epochs_and_is_absent_in_evaluation(name: str) -> None:
    made = component("transform", name)(images())
    first, second = read(made["train"], None, 0), read(made["train"], None, 1)
    assert not torch.equal(first, second)
    assert torch.equal(read(made["train"], None, None), read(images()["train"]))
    assert torch.equal(read(made["test"], None, 0), read(images()["test"]))
    assert not torch.equal(first, read(component("transform", name, seed=1)(images())["train"], None, 0))


@pytest.mark.parametrize(("axis", "dimension"), [("horizontal", -1), ("vertical", -2)])
def test_flips_mirror_about_the_chance(axis: str, dimension: int) -> None:
    train = component("transform", "random_flip", axis=axis, chance=0.3)(images(1000))["train"]
    plain, flipped = read(images(1000)["train"]), read(train, None, 4)
    mirrored = (flipped == plain.flip(dimension)).all(-1).all(-1).all(-1)
    kept = (flipped == plain).all(-1).all(-1).all(-1)
    assert bool((mirrored ^ kept).all())
    assert mirrored.float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_crops_are_shifts_of_the_padded_image_and_all_are_about_equally_frequent() -> None:
    train = component("transform", "random_crop", padding=1, fill=-1.0)(images(900))["train"]
    cropped = read(train, None, 2).numpy()
    padded = np.pad(read(images(900)["train"]).numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    counts = np.zeros((3, 3))
    for sample in range(900):
        found = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if np.array_equal(cropped[sample], padded[sample, :, top : top + 5, left : left + 6])
        ]
        assert len(found) == 1
        counts[found[0]] += 1
    assert counts.min() > 70


def test_spurious_colours_agree_at_the_rate_in_training_and_never_tell_in_the_test() -> None:
    dataset = labelled(np.arange(400) % 2, shape=(1, 4, 4))
    assert isinstance(dataset.inputs, Tensor)
    dataset.inputs += 1
    splits: Splits = {"train": dataset, "validation": dataset, "test": dataset}
    options = {"rate": 0.95, "values": ["red", "green"], "column": "colour"}
    made = component("transform", "spurious", **options)(splits)
    tables = {}
    for name, split in made.items():
        colour, label = split.columns["colour"].values, split.columns["label"].values
        tables[name] = [[int(((label == y) & (colour == a)).sum()) for a in (0, 1)] for y in (0, 1)]
        pixels = read(split)
        assert pixels.shape == (400, 2, 4, 4)
        rows = torch.arange(400)
        assert torch.equal(pixels[rows, torch.from_numpy(colour)], dataset.inputs[:, 0])
        assert not pixels[rows, torch.from_numpy(1 - colour)].any()
    assert tables == {
        "train": [[190, 10], [10, 190]],
        "validation": [[100, 100], [100, 100]],
        "test": [[100, 100], [100, 100]],
    }
    assert (
        made["validation"].columns["colour"].values.tolist() != made["test"].columns["colour"].values.tolist()
    )


def test_spurious_features_of_many_values_share_what_does_not_agree() -> None:
    splits: Splits = {"train": labelled(np.arange(300) % 3, shape=(2,))}
    made = component("transform", "spurious", rate=0.8, form="feature", strength=2.5)(splits)["train"]
    attribute, label = made.columns["attribute"].values, made.columns["label"].values
    table = np.array([[((label == y) & (attribute == a)).sum() for a in range(3)] for y in range(3)])
    assert table.tolist() == [[80, 10, 10], [10, 80, 10], [10, 10, 80]]
    assert torch.equal(read(made)[:, 2:], 2.5 * torch.eye(3)[torch.from_numpy(attribute)])


@pytest.mark.parametrize("name", ["spurious", "standardize", "flatten"])
def test_samples_that_are_not_in_memory_are_changed_in_the_same_way(name: str) -> None:
    transform = component("transform", name)
    positions = np.array([7, 3, 22])
    in_memory, read_later = transform(images())["train"], transform(lazy(images()))["train"]
    assert torch.equal(read(in_memory), read(read_later))
    assert torch.equal(read(in_memory.select(positions)), read(read_later.select(positions)))


def test_labels_and_columns_of_samples_that_are_not_in_memory() -> None:
    made = component("transform", "merge_classes", classes={"b": [1], "a": [0]})(lazy(images()))["train"]
    assert made.select(np.array([4, 5])).fetch(np.array([1, 0]), None)[1].tolist() == [0, 1]
    assert made.select(np.array([4, 5])).columns["label"].values.tolist() == [1, 0]
    further = with_columns(made, {"copy": made.columns["label"]})
    assert further.select(np.array([3])).columns["copy"].values.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("random_flip", {}, "needs images, not samples of shape"),
        ("random_crop", {}, "needs images, not samples of shape"),
        ("spurious", {}, "form colour needs images"),
        ("spurious", {"form": "feature", "values": ["a"]}, "needs two different names or more"),
        ("spurious", {"form": "feature", "column": "label"}, "already has a column 'label'"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        component("transform", name, **options)({"train": labelled([0, 1], shape=(3,))})
