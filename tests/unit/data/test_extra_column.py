from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framework.data.dataset import Splits
from framework.data.unfitted import fit
from framework.data.views import with_augmentation
from framework.errors import ConfigError, DataError
from tests.data_samples import component, labelled


def add(splits: Splits, path: Path | str, column: str = "baseline_loss") -> Splits:
    changed: Splits = component("transform", "extra_column", path=str(path), column=column)(splits)
    return changed


def saved(folder: Path, values: Any) -> Path:
    np.save(folder / "x.npy", values)
    return folder / "x.npy"


def test_the_column_follows_its_samples(tmp_path: Path) -> None:
    plain = labelled([0, 1, 0, 1])
    path = saved(tmp_path, np.array([4.0, 3.0, 2.0, 1.0]))
    for dataset in (plain, with_augmentation(plain, lambda inputs, ids, epoch: inputs)):
        changed = add({"train": dataset, "test": plain}, path)
        assert changed["test"] is plain
        assert set(dataset.extra) == {"sample_weight"}
        part = changed["train"].select(np.array([3, 0]))
        assert part.extra["baseline_loss"].tolist() == [1.0, 4.0]
        assert part.extra["baseline_loss"].dtype == np.float32


def test_it_stays_with_samples_that_are_read_from_files(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / f"{name}.png")
    train = component("dataset", "image_folder", path=str(tmp_path), size=2)
    changed = add(train, saved(tmp_path, np.array([4.0, 3.0, 2.0])))["train"]
    part = changed.select(np.array([2, 0]))
    assert part.extra["baseline_loss"].tolist() == [2.0, 4.0]
    assert part.select(np.array([1])).extra["baseline_loss"].tolist() == [4.0]


def test_a_row_per_block_for_a_language_model(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a text")
    splits = fit(component("dataset", "text", path=str(tmp_path / "text"), length=4))
    changed = add(splits, saved(tmp_path, np.ones((2, 4))), "token_baseline_loss")["train"]
    assert changed.select(np.array([1])).extra["token_baseline_loss"].shape == (1, 4)
    with pytest.raises(DataError, match=r"has shape \(2, 3\); the training split needs \(2,\) or \(2, 4\)"):
        add(splits, saved(tmp_path, np.ones((2, 3))), "token_baseline_loss")


@pytest.mark.parametrize(
    ("values", "column", "message"),
    [
        (np.ones(3), "x", r"shape \(3,\); the training split needs \(2,\)"),
        (np.array([1, np.nan]), "x", "not all values are finite"),
        (np.ones(2), "sample_weight", "has a column 'sample_weight' already"),
    ],
)
def test_what_does_not_fit_is_named(values: Any, column: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, ConfigError, ValueError), match=message):
        add({"train": labelled([0, 1])}, saved(tmp_path, values), column)
