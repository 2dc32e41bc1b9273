from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from framework.policies import ALSO, ERM, SampleLosses

COUNTS = [90, 10]


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(values: list[float], groups: list[int]) -> SampleLosses:
    n = len(values)
    return SampleLosses(double(values), torch.tensor(groups), torch.arange(n), n)


@st.composite
def batches(draw: st.DrawFn, largest: float = 20.0) -> SampleLosses:
    n = draw(st.integers(1, 12))
    values = draw(st.lists(st.floats(0.0, largest), min_size=n, max_size=n))
    return batch(values, draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))


MODES = pytest.mark.parametrize("mode", ["optimistic", "descent_ascent"])


@MODES
@given(st.lists(batches(), min_size=1, max_size=5))
def test_a_still_uniform_adversary_is_the_mean(mode: Any, steps: list[SampleLosses]) -> None:
    policy = ALSO(COUNTS, mode=mode, pi_lr=0.0)
    for samples in steps:
        policy.update(samples)
        torch.testing.assert_close(policy.weights(samples), ERM().weights(samples))


@MODES
@given(batches())
def test_a_static_prior_is_class_weighted_erm(mode: Any, samples: SampleLosses) -> None:
    policy = ALSO(COUNTS, mode=mode, pi_lr=0.0, pi_reg="inverse_frequency")
    policy.update(samples)
    class_weights = double([100 / (2 * 90), 100 / (2 * 10)])
    class_weights = class_weights / class_weights.sum() * 2
    torch.testing.assert_close(policy.weights(samples), class_weights[samples.groups] / samples.num_samples)


@given(st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3), st.floats(0.2, 2.0))
def test_constant_payoffs_settle_at_the_prior_tilted_by_them(values: list[float], decay: float) -> None:
    prior = [0.1, 0.3, 0.6]
    policy = ALSO([5, 5, 5], pi_lr=0.5, pi_decay=decay, pi_reg=prior, pi_init="uniform", loss_scale=1.0)
    samples = batch(values, [0, 1, 2])
    for _ in range(400):
        policy.update(samples)
    expected = (double(prior).log() + double(values) / decay).softmax(0)
    torch.testing.assert_close(policy.pi, expected, rtol=1e-8, atol=1e-10)


def test_optimistic_weights_are_half_a_step_ahead() -> None:
    optimistic = ALSO([5, 5], pi_lr=0.3)
    plain = ALSO([5, 5], pi_lr=0.3, mode="descent_ascent")
    first, second = batch([1.0, 3.0], [0, 1]), batch([2.0, 0.5], [0, 1])
    assert torch.equal(optimistic.weights(first), plain.weights(first))
    optimistic.update(first)
    plain.update(first)
    assert torch.equal(optimistic.pi, plain.pi)
    ahead = ALSO([5, 5], pi_lr=0.3, mode="descent_ascent")
    ahead.update(first)
    ahead.update(first)
    assert torch.equal(optimistic.weights(second), ahead.weights(second))
    optimistic.update(second)
    plain.update(second)
    assert torch.equal(optimistic.pi, plain.pi)


@given(st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_the_sum_payoff_is_the_groups_share_of_the_total_loss(majority: float, minority: float) -> None:
    groups = [0] * 9 + [1]
    policy = ALSO(COUNTS, mode="descent_ascent", pi_lr=0.01, pi_decay=0.0)
    policy.update(batch([majority] * 9 + [minority], groups))
    payoffs = double([2 * 0.9 * majority, 2 * 0.1 * minority])
    torch.testing.assert_close(policy.pi, (0.01 * payoffs).softmax(0))


@given(st.floats(0.1, 3.0), st.floats(0.1, 3.0), st.floats(0.0, 2.0))
def test_the_mean_payoff_plays_for_group_means_and_so_does_the_objective(
    majority: float, minority: float, pi_lr: float
) -> None:
    samples = batch([majority] * 9 + [minority], [0] * 9 + [1])
    policy = ALSO(COUNTS, mode="descent_ascent", pi_lr=pi_lr, pi_decay=0.0, payoff="mean")
    policy.update(samples)
    means = double([majority, minority])
    torch.testing.assert_close(policy.pi, (pi_lr * means).softmax(0))
    torch.testing.assert_close((policy.weights(samples) * samples.loss).sum(), (policy.pi * means).sum())


def test_the_mean_payoff_follows_the_sampler() -> None:
    policy = ALSO(COUNTS, [0.5, 0.5], payoff="mean", pi_lr=0.0)
    samples = batch([1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
    torch.testing.assert_close(policy.weights(samples), double([0.25] * 4))


def test_a_short_last_batch_is_scaled_by_its_own_size() -> None:
    short = batch([1.0, 1.0], [0, 1])
    assert float(ALSO(COUNTS, None, 8).weights(short).sum()) == 1.0
    assert float(ALSO(COUNTS, None, 8, loss_scale="nominal").weights(short).sum()) == 0.25
    assert float(ALSO(COUNTS, loss_scale=3.0).weights(short).sum()) == 3.0


@MODES
@given(st.lists(batches(largest=1e4), min_size=1, max_size=5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_pi_stays_a_distribution(mode: Any, steps: list[SampleLosses], pi_lr: float, pi_decay: float) -> None:
    policy = ALSO([*COUNTS, 0], mode=mode, pi_lr=pi_lr, pi_decay=pi_decay, pi_reg=[1.0, 0.0, 0.0])
    for samples in steps:
        weights = policy.weights(samples)
        policy.update(samples)
        assert weights.isfinite().all()
        assert (weights >= 0).all()
        for pi in (policy.pi, policy.pi_half):
            torch.testing.assert_close(pi.sum(), double([1.0])[0])
            assert pi[2] == 0


@MODES
def test_a_zero_in_the_prior_without_decay_is_no_nan(mode: Any) -> None:
    policy = ALSO([5, 5], mode=mode, pi_reg=[1.0, 0.0], pi_decay=0.0)
    policy.update(batch([1.0, 2.0], [0, 1]))
    torch.testing.assert_close(policy.pi, double([1.0, 0.0]))


@MODES
def test_a_group_that_lost_all_its_weight_is_pulled_back_by_the_prior(mode: Any) -> None:
    policy = ALSO([5, 5], mode=mode, pi_init=[1.0, 0.0], pi_lr=1.0, pi_decay=1.0)
    for _ in range(40):
        policy.update(batch([1.0, 1.0], [0, 1]))
    torch.testing.assert_close(policy.pi, double([0.5, 0.5]))


def test_pi_starts_at_the_prior_unless_told_otherwise() -> None:
    assert torch.equal(ALSO([5, 5], pi_reg=[1.0, 3.0]).pi, double([0.25, 0.75]))
    assert torch.equal(ALSO([5, 5], pi_reg=[1.0, 3.0], pi_init="uniform").pi, double([0.5, 0.5]))
    assert torch.equal(ALSO([5, 15], pi_init="inverse_frequency").pi, double([0.75, 0.25]))


def test_a_still_adversary_does_not_drift() -> None:
    policy = ALSO([5, 5], pi_reg=[1.0, 3.0], pi_lr=0.0)
    for _ in range(1000):
        policy.update(batch([1.0, 2.0], [0, 1]))
    torch.testing.assert_close(policy.pi, double([0.25, 0.75]), rtol=1e-12, atol=0)


def test_groups_without_samples_take_no_part_in_the_uniform_prior() -> None:
    policy = ALSO([5, 0, 5], pi_lr=0.0)
    samples = batch([1.0, 1.0], [0, 2])
    torch.testing.assert_close(policy.weights(samples), double([0.5, 0.5]))


def test_only_the_optimistic_mode_asks_for_a_half_step() -> None:
    extrapolation = ALSO(COUNTS, alpha=0.5, half_step_state="shared").extrapolation
    assert extrapolation is not None
    assert (extrapolation.alpha, extrapolation.state) == (0.5, "shared")
    assert ALSO(COUNTS, mode="descent_ascent").extrapolation is None


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "descent_ascent", "alpha": 0.5},
        {"mode": "descent_ascent", "half_step_state": "shared"},
        {"payoff": "mean", "loss_scale": 2.0},
        {"payoff": "mean", "group_shares": [1.0, 0.0]},
        {"loss_scale": "nominal"},
        {"pi_reg": [1.0]},
        {"pi_reg": [0.0, 0.0]},
        {"pi_reg": [1.0, -1.0]},
        {"pi_init": "prior"},
        {"pi_lr": -1.0},
        {"pi_temperature": 0.0},
        {"group_counts": [5, 0], "pi_reg": [0.5, 0.5]},
    ],
)
def test_what_cannot_be_obeyed_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, the messages differ
        ALSO(**{"group_counts": COUNTS, **options})
