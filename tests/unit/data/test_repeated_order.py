from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework.config.schema import SamplingConfig
from framework.data.build import Data, build_data
from framework.data.repeated_order import make_repeated_order
from framework.errors import ConfigError, DataError
from tests.data_samples import data_config


def section(folder: Path, values: Any, up_weight: int = 1) -> SamplingConfig:
    np.save(folder / "errors.npy", values)
    return SamplingConfig(name="repeated", path=str(folder / "errors.npy"), up_weight=up_weight)


def test_an_epoch_is_that_of_the_duplicated_data(tmp_path: Path) -> None:
    """JTT's authors concatenate the data with `up_weight` copies of the error set."""
    errors = np.array([0, 1, 0, 0, 1])
    order = make_repeated_order(section(tmp_path, errors, up_weight=3), 5, seed=4)
    duplicated = np.concatenate([np.arange(5), np.tile(np.flatnonzero(errors), 3)])
    assert len(order) == len(duplicated) == 11
    epochs = [order.epoch(epoch) for epoch in range(3)]
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.sort(duplicated))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert order.epoch(1).tolist() == epochs[1].tolist()
    assert order.probabilities() == pytest.approx(np.bincount(duplicated) / 11)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(4, np.int64), r"shape \(4,\); the training split needs \(5,\)"),
        (np.full(5, 0.5), "must be whole and not negative"),
        (np.full(5, -1), "must be whole and not negative"),
    ],
)
def test_what_does_not_fit_is_named(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        make_repeated_order(section(tmp_path, values), 5, 0)


def test_the_file_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"data\.sampling\.path: `repeated` needs the file"):
        make_repeated_order(SamplingConfig(name="repeated"), 5, 0)


def test_the_fingerprint_sees_the_file_and_extra_columns(tmp_path: Path) -> None:
    """A run that goes on with other numbers in the same file is another run."""

    def made(marked: int, loss: float) -> Data:
        values = np.zeros(1257, np.int64)
        values[marked] = 1
        sampling = section(tmp_path, values)
        np.save(tmp_path / "losses.npy", np.full(1257, loss))
        column = {"name": "extra_column", "path": str(tmp_path / "losses.npy"), "column": "baseline_loss"}
        config = data_config(source={"name": "digits"}, transforms=[column])
        return build_data(config.model_copy(update={"sampling": sampling}), 0)

    first, again = made(0, 0.5), made(0, 0.5)
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != made(1, 0.5).fingerprint()
    assert first.fingerprint() != made(0, 0.25).fingerprint()
    assert replace(first, order=made(2, 0.5).order).fingerprint() != first.fingerprint()
