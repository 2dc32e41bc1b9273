from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import plugins
from framework.policies import ERM, Policy, SampleLosses
from framework.registry import registry
from tests.registrations import rolled_back

PLUGIN = Path(__file__).parents[3] / "plugins" / "tail_weighting.py"


@pytest.fixture(autouse=True)
def _loaded() -> Iterator[None]:
    with rolled_back():
        plugins.load([str(PLUGIN)])
        yield


def build(**options: Any) -> Policy:
    component = registry.get("policy", "tail_weighting")
    policy: Policy = component.build(component.model(name="tail_weighting", **options))
    return policy


def batch(losses: list[float]) -> SampleLosses:
    n = len(losses)
    return SampleLosses(torch.tensor(losses), torch.zeros(n, dtype=torch.int64), torch.arange(n), n)


def test_the_tail_counts_boost_times_as_much() -> None:
    weights = build(tail=0.25, boost=3.0).weights(batch([0.1, 2.0, 0.3, 0.2]))
    torch.testing.assert_close(weights, torch.tensor([1.0, 3.0, 1.0, 1.0]) / 6)


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0], [0.0], [4.0, 4.0]])
def test_no_boost_is_erm(losses: list[float]) -> None:
    samples = batch(losses)
    torch.testing.assert_close(build(boost=1.0).weights(samples), ERM().weights(samples))


def test_options_are_checked_like_built_in_ones() -> None:
    with pytest.raises(ValueError, match="tail"):
        build(tail=1.5)
