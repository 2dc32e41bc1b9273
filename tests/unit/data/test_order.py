import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.config.schema import SamplingConfig
from framework.data.order import GroupBalancedOrder, UniformOrder, make_order


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 1000))
def test_a_uniform_epoch_is_a_permutation_that_seed_and_epoch_decide(n: int, seed: int, epoch: int) -> None:
    positions = UniformOrder(n, seed).epoch(epoch)
    assert positions.dtype == np.int64
    assert np.array_equal(np.sort(positions), np.arange(n))
    assert np.array_equal(positions, UniformOrder(n, seed).epoch(epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = [UniformOrder(50, seed).epoch(epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_every_permutation_is_about_equally_likely() -> None:
    seen = np.zeros((4, 4))
    for epoch in range(4000):
        seen[np.arange(4), UniformOrder(4, 0).epoch(epoch)] += 1
    assert np.abs(seen / 1000 - 1).max() < 0.12


def test_balanced_draws_are_equally_likely_for_every_group_and_inside_it() -> None:
    groups = np.repeat([0, 2, 5], [2, 30, 68])
    order = GroupBalancedOrder(groups, seed=3, replacement=True)
    assert len(order) == 100
    drawn = np.concatenate([order.epoch(epoch) for epoch in range(1000)])
    frequency = np.bincount(drawn, minlength=100) / len(drawn)
    # a weighted sampler with weight 1 / n_g
    weights = 1 / np.bincount(groups)[groups]
    assert frequency == pytest.approx(weights / weights.sum(), rel=0.2)
    assert np.bincount(groups[drawn], minlength=6)[[0, 2, 5]] / len(drawn) == pytest.approx(1 / 3, rel=0.02)
    assert order.probabilities() == pytest.approx(weights / weights.sum())


def test_without_replacement_each_group_is_cut_to_the_smallest_anew_every_epoch() -> None:
    groups = np.array([1, 0, 1, 1, 3, 0, 1, 3, 3, 1])
    order = GroupBalancedOrder(groups, seed=0, replacement=False)
    seen = set()
    for epoch in range(40):
        positions = order.epoch(epoch)
        assert len(positions) == len(order) == 6
        assert len(set(positions.tolist())) == 6
        assert np.bincount(groups[positions]).tolist() == [2, 2, 0, 2]
        seen |= set(positions.tolist())
    assert seen == set(range(10))


def test_the_sampling_section_chooses() -> None:
    groups = np.array([0, 0, 1])
    assert isinstance(make_order(SamplingConfig(), groups, 0), UniformOrder)
    balanced = make_order(SamplingConfig(name="group_balanced", replacement=False), groups, 0)
    assert isinstance(balanced, GroupBalancedOrder)
    assert len(balanced) == 2
