from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from framework import plugins
from framework.data.build import build_data
from framework.registry import registry
from tests.data_samples import component, data_config
from tests.registrations import rolled_back

PLUGIN = str(Path(__file__).parents[3] / "plugins" / "two_moons.py")


@pytest.fixture(autouse=True)
def _loaded() -> Iterator[None]:
    with rolled_back():
        plugins.load([PLUGIN])
        yield


def test_without_noise_the_samples_lie_on_two_half_circles() -> None:
    train = component("dataset", "two_moons", n=200, noise=0)["train"]
    points, labels = train.fetch(np.arange(200), None)
    assert isinstance(points, Tensor)
    centres = np.array([[0, 0], [1, 0.5]])[labels.numpy()]
    assert np.linalg.norm(points.numpy() - centres, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.bincount(labels.numpy()).tolist() == [100, 100]
    assert (points.numpy()[labels.numpy() == 0, 1] >= 0).all()
    # the inner half of the upper moon is its right one, that of the lower moon its left one
    inner = train.columns["end"].values == 1
    assert np.array_equal(
        inner, np.where(labels.numpy() == 0, points.numpy()[:, 0] > 0, points.numpy()[:, 0] < 1)
    )


def test_it_works_as_a_data_section() -> None:
    source = registry.get("dataset", "two_moons").model.model_validate({"name": "two_moons", "noise": 0.2})
    config = data_config(source={"name": "digits"}, groups=["label", "end"]).model_copy(
        update={"source": source}
    )
    data = build_data(config, 0)
    assert len(data.groups) == 4
    assert data.fingerprint() == build_data(config, 0).fingerprint()
    assert data.fingerprint() != build_data(config, 1).fingerprint()
