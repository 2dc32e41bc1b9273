import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from framework.data.dataset import Dataset
from framework.errors import DataError
from tests.data_samples import component

RANDOM = np.random.default_rng(0)


def inputs(dataset: Dataset) -> np.ndarray:
    found = dataset.fetch(np.arange(len(dataset)), None)[0]
    assert isinstance(found, Tensor)
    return found.numpy()


def targets(dataset: Dataset) -> list[float]:
    return dataset.fetch(np.arange(len(dataset)), None)[1].tolist()


def idx(path: Path, array: np.ndarray) -> Path:
    """Write the published format: two zero bytes, the type, the number of dimensions, big-endian sizes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return path


def test_idx_files_with_official_test_and_checksum(tmp_path: Path) -> None:
    images, labels = RANDOM.integers(0, 256, (6, 4, 5)), np.array([0, 1, 2, 2, 1, 0])
    file = idx(tmp_path / "a.gz", images)
    idx(tmp_path / "b.gz", labels)
    splits = component(
        "dataset",
        "arrays",
        folder=str(tmp_path),
        train={"inputs": "a.gz", "targets": "b.gz"},
        test={"inputs": "a.gz", "targets": "b.gz"},
        classes=["x", "y", "z"],
        checksums={"a.gz": "md5:" + hashlib.md5(file.read_bytes()).hexdigest()},
    )
    assert list(splits) == ["train", "test"]
    assert inputs(splits["train"]) == pytest.approx(images[:, None] / 255)
    assert targets(splits["test"]) == labels.tolist()
    assert splits["train"].spec.class_names == ("x", "y", "z")


def test_npz_with_keys_columns_and_numbers_for_the_policy(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (4, 2, 2, 3)).astype(np.uint8)
    np.savez(
        tmp_path / "a.npz", x=pixels, y=np.array([[3], [7], [3], [7]]), site=[9, 9, 5, 5], w=[1.0, 2, 3, 4]
    )
    train = component(
        "dataset",
        "arrays",
        folder=str(tmp_path),
        channels="last",
        pixels="raw",
        train={
            "inputs": "a.npz:x",
            "targets": "a.npz:y",
            "columns": {"site": "a.npz:site"},
            "extra": {"sample_weight": "a.npz:w"},
        },
    )["train"]
    assert np.array_equal(inputs(train), pixels.transpose(0, 3, 1, 2))
    assert train.spec.class_names == ("3", "7")
    assert targets(train) == [0, 1, 0, 1]
    assert (train.columns["site"].names, train.columns["site"].values.tolist()) == (("5", "9"), [1, 1, 0, 0])
    assert train.extra["sample_weight"].tolist() == [1, 2, 3, 4]


def test_npy_features_for_regression(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "y.npy", np.array([0.5, 1.5, 2.5]))
    refs = {"inputs": "x.npy", "targets": "y.npy"}
    train = component("dataset", "arrays", folder=str(tmp_path), train=refs, kind="regression")["train"]
    assert inputs(train).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert targets(train) == [0.5, 1.5, 2.5]
    assert train.spec.num_classes is None


def picture(path: Path, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    pixels = RANDOM.integers(0, 256, (*size, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_image_folder_reads_splits_classes_and_pixels(tmp_path: Path) -> None:
    first = picture(tmp_path / "train/cat/1.png")
    picture(tmp_path / "train/cat/2.jpg", (20, 10))
    picture(tmp_path / "train/ant/1.png")
    picture(tmp_path / "val/cat/1.png")
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    splits = component("dataset", "image_folder", path=str(tmp_path), size=8)
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 3, "validation": 1}
    assert splits["train"].spec.class_names == ("ant", "cat")
    assert targets(splits["train"]) == [0, 1, 1]
    assert targets(splits["validation"]) == [1]
    assert inputs(splits["train"])[1] == pytest.approx(first.transpose(2, 0, 1) / 255)
    assert inputs(splits["train"].select(np.array([1])))[0] == pytest.approx(first.transpose(2, 0, 1) / 255)
    kept = component("dataset", "image_folder", path=str(tmp_path), size=8, in_memory=True)
    assert np.array_equal(inputs(kept["train"]), inputs(splits["train"]))


def test_image_folder_without_splits_in_gray_and_scaled(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "cat/1.png", (6, 9))
    train = component("dataset", "image_folder", path=str(tmp_path), size=4, color="grayscale")["train"]
    expected = Image.fromarray(pixels).convert("L").resize((4, 4), Image.Resampling.BILINEAR)
    assert inputs(train)[0, 0] == pytest.approx(np.asarray(expected) / 255)


@pytest.mark.parametrize("flat", [False, True])
def test_digits_are_those_of_scikit_learn(flat: bool) -> None:
    from sklearn.datasets import load_digits

    train = component("dataset", "digits", flat=flat)["train"]
    assert train.spec.input_shape == ((64,) if flat else (1, 8, 8))
    assert inputs(train).reshape(-1, 64) == pytest.approx(load_digits().data / 16)
    assert targets(train) == load_digits().target.tolist()


def test_diabetes_is_that_of_scikit_learn() -> None:
    from sklearn.datasets import load_diabetes

    train = component("dataset", "diabetes")["train"]
    bunch = load_diabetes(scaled=False)
    assert (train.spec.input_shape, train.spec.num_classes) == ((10,), None)
    assert inputs(train) == pytest.approx(bunch.data)
    assert targets(train) == pytest.approx(bunch.target / 100)
    sex = train.columns["sex"]
    assert np.array_equal(np.array(sex.names, dtype=float)[sex.values], bunch.data[:, 1])


def test_synthetic_groups_have_the_counts_and_means_they_should() -> None:
    options = {"n": 4000, "n_evaluation": 998, "core": 1.5, "spurious": 3, "num_core": 2, "num_noise": 3}
    splits = component("dataset", "synthetic_groups", **options)
    for name, table in {"train": [[1900, 100], [100, 1900]], "validation": [[250, 250]] * 2}.items():
        label, attribute = splits[name].columns["label"].values, splits[name].columns["attribute"].values
        found = [[int(((label == y) & (attribute == a)).sum()) for a in (0, 1)] for y in (0, 1)]
        assert found == table
    values, label = inputs(splits["train"]), splits["train"].columns["label"].values
    attribute = splits["train"].columns["attribute"].values
    assert values.shape == (4000, 6)
    assert values[label == 1].mean(0)[:2] == pytest.approx(1.5, abs=0.1)
    assert values[attribute == 0].mean(0)[2] == pytest.approx(-3, abs=0.1)
    assert values[label == 1].mean(0)[3:] == pytest.approx(0, abs=0.1)
    assert values[(label == 1) & (attribute == 1)].std(0) == pytest.approx(1, abs=0.1)
    again = component("dataset", "synthetic_groups", **options)
    assert np.array_equal(values, inputs(again["train"]))
    assert not np.array_equal(values, inputs(component("dataset", "synthetic_groups", 1, **options)["train"]))


def test_of_sixteen_bits_the_upper_eight_count(tmp_path: Path) -> None:
    pixels = np.array([[0, 255], [256, 65535]], np.uint16)
    (tmp_path / "cat").mkdir()
    Image.fromarray(pixels).save(tmp_path / "cat" / "1.png")
    for color, channels in (("grayscale", 1), ("rgb", 3)):
        train = component("dataset", "image_folder", path=str(tmp_path), size=2, color=color)["train"]
        images, _ = train.fetch(np.array([0]), None)
        assert images[0].tolist() == [[[0, 0], [pytest.approx(1 / 255), 1]]] * channels


def test_folders_of_any_name_are_classes_and_hidden_ones_are_none(tmp_path: Path) -> None:
    for name in (b"caf\xe9", "h\u00e9\n[red]".encode(), b".ipynb_checkpoints"):
        picture(tmp_path / os.fsdecode(name) / "1.png")
    train = component("dataset", "image_folder", path=str(tmp_path), size=8)["train"]
    assert train.spec.class_names == ("caf\\xe9", "h\u00e9\\n[red]")
    assert inputs(train).shape == (2, 3, 8, 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image; remove the folder"):
        component("dataset", "image_folder", path=str(tmp_path), size=8)
