from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from framework import plugins
from framework.data.batch import DataSpec
from framework.errors import ConfigError
from framework.registry import registry
from tests.registrations import rolled_back

PLUGIN = Path(__file__).parents[3] / "plugins" / "conv_mixer.py"
DIGITS = DataSpec((1, 8, 8), 10)


@pytest.fixture(autouse=True)
def _loaded() -> Iterator[None]:
    with rolled_back():
        plugins.load([str(PLUGIN)])
        yield


def build(spec: DataSpec, **options: object) -> nn.Module:
    component = registry.get("model", "conv_mixer")
    model: nn.Module = component.build(component.model(name="conv_mixer", **options), spec=spec)
    return model


def test_maps_images_to_outputs_and_has_the_papers_size() -> None:
    assert build(DIGITS)(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    # ConvMixer-1536/20, patch 7, kernel 9: 51.6 million (Table 1).
    with torch.device("meta"):
        model = build(DataSpec((3, 224, 224), 1000), width=1536, depth=20, kernel_size=9, patch_size=7)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(51.6, abs=0.05)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (DataSpec((7,), 3), {}, "needs images"),
        (DIGITS, {"patch_size": 3}, "patch_size 3 does not divide 8x8"),
        (DIGITS, {"kernel_size": 4}, "must be odd; got 4"),
    ],
)
def test_refuses_what_cannot_work(spec: DataSpec, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, **options)
