"""Orders that are computed position by position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.data import order as order_module
from framework.data.order import BlockOrder, GroupBalancedOrder, KeyedOrder, Order, UniformOrder


def orders() -> list[Order]:
    return [
        UniformOrder(37, 5),
        GroupBalancedOrder(np.arange(37) % 3, 5, True),
        KeyedOrder(37, 5),
        BlockOrder(np.array([0, 3, 4, 20]), 37, 5, 3),
    ]


@pytest.mark.parametrize("order", orders(), ids=lambda order: type(order).__name__)
def test_any_piece_of_an_epoch_is_that_piece(order: Order) -> None:
    for epoch in (0, 4):
        whole = order.epoch(epoch)
        assert len(whole) == len(order)
        for start, stop in [(0, 5), (30, 40), (17, 18), (0, 37), (36, 50), (3, 29)]:
            assert order.positions(epoch, start, stop).tolist() == whole[start:stop].tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**40), st.integers(0, 1000))
def test_a_keyed_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    positions = KeyedOrder(n, seed).epoch(epoch)
    assert positions.dtype == np.int64
    assert np.array_equal(np.sort(positions), np.arange(n))


def test_a_keyed_permutation_is_even_and_new_in_every_epoch() -> None:
    seen = np.zeros((5, 5))
    following = 0
    for epoch in range(5000):
        positions = KeyedOrder(5, 0).epoch(epoch)
        seen[np.arange(5), positions] += 1
        following += int((np.diff(positions) == 1).sum())
    assert np.abs(seen / 1000 - 1).max() < 0.15
    # of the 20 ordered pairs of different positions, 4 are a number and the next: 4 draws, 4 / 20 each
    assert abs(following / 5000 - 0.8) < 0.05


def test_a_keyed_order_of_a_trillion_samples_takes_no_memory() -> None:
    order = KeyedOrder(10**12, 1)
    positions = order.positions(3, 10**11, 10**11 + 4096)
    assert len(np.unique(positions)) == 4096
    assert positions.min() >= 0
    assert positions.max() < 10**12
    # the mean of 4096 uniform numbers has a standard deviation of 0.0045
    assert abs(positions.mean() / 10**12 - 0.5) < 0.02
    assert abs(np.corrcoef(positions[1:], positions[:-1])[0, 1]) < 0.06


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 99))
def test_blocks_are_a_permutation_of_whole_files(sizes: list[int], num_files: int, epoch: int) -> None:
    starts = np.cumsum([0, *sizes[:-1]])
    order = BlockOrder(starts, sum(sizes), 3, num_files)
    positions = order.epoch(epoch)
    assert np.array_equal(np.sort(positions), np.arange(sum(sizes)))
    files = np.repeat(np.arange(len(sizes)), sizes)[positions]
    left = list(dict.fromkeys(files.tolist()))
    while left:
        block = set(files[: sum(sizes[f] for f in set(files[:1]))].tolist())
        length = 0
        while length != sum(sizes[f] for f in block):
            length = sum(sizes[f] for f in block)
            block |= set(files[:length].tolist())
        assert len(block) <= num_files
        files, left = files[length:], [f for f in left if f not in block]


def test_files_and_their_neighbours_change_with_the_epoch() -> None:
    order = BlockOrder(np.arange(0, 80, 10), 80, 0, 2)
    blocks = {tuple(sorted(set((order.epoch(epoch)[:20] // 10).tolist()))) for epoch in range(40)}
    assert len(blocks) > 15


def test_more_samples_than_a_permutation_should_hold_are_permuted_by_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from framework.config.schema import SamplingConfig

    monkeypatch.setattr(order_module, "LARGEST_PERMUTATION", 10)
    assert isinstance(order_module.make_order(SamplingConfig(), np.zeros(11, np.int64), 0), KeyedOrder)
    assert isinstance(order_module.make_order(SamplingConfig(), np.zeros(10, np.int64), 0), UniformOrder)


def test_the_permutation_of_small_data_stays_what_it_is() -> None:
    assert UniformOrder(12, 0).epoch(0).tolist() == EXPECTED_UNIFORM
    assert GroupBalancedOrder(np.arange(12) % 3, 0, False).epoch(1).tolist() == EXPECTED_BALANCED


EXPECTED_UNIFORM = [5, 11, 10, 6, 1, 8, 9, 4, 7, 0, 2, 3]
EXPECTED_BALANCED = [1, 6, 7, 5, 3, 4, 9, 0, 8, 2, 11, 10]
