from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from framework.policies import GroupDRO, SampleLosses

COUNTS = [3498, 184, 56, 1057]


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(values: list[float], groups: list[int]) -> SampleLosses:
    n = len(values)
    return SampleLosses(double(values), torch.tensor(groups), torch.arange(n), n)


@st.composite
def batches(draw: st.DrawFn, num_groups: int = 4, largest: float = 20.0) -> SampleLosses:
    n = draw(st.integers(1, 15))
    values = draw(st.lists(st.floats(0.0, largest), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, num_groups - 1), min_size=n, max_size=n))
    return batch(values, groups)


@given(batches(), st.sampled_from(["freeze", "zero_loss", "last"]))
def test_no_step_is_balanced_erm(samples: SampleLosses, absent: Any) -> None:
    policy = GroupDRO(COUNTS, step_size=0.0, absent=absent)
    policy.update(samples)
    weights = policy.weights(samples)
    counts = torch.bincount(samples.groups, minlength=4)
    torch.testing.assert_close(weights, 1 / (4 * counts[samples.groups].double()))


@given(batches(num_groups=1), st.floats(0, 5))
def test_one_group_is_erm(samples: SampleLosses, step_size: float) -> None:
    policy = GroupDRO([77], step_size=step_size)
    policy.update(samples)
    torch.testing.assert_close(
        policy.weights(samples), torch.full_like(samples.loss, 1 / samples.num_samples)
    )


@given(batches(), st.floats(-5, 5), st.sampled_from(["freeze", "last"]))
def test_q_does_not_see_a_constant_added_to_all_losses(
    samples: SampleLosses, shift: float, absent: Any
) -> None:
    plain, shifted = (GroupDRO(COUNTS, step_size=0.5, absent=absent) for _ in range(2))
    plain.update(samples)
    shifted.update(SampleLosses(samples.loss + shift, samples.groups, samples.index, samples.num_samples))
    torch.testing.assert_close(plain.q, shifted.q)


def test_equal_losses_are_a_fixed_point_and_the_worst_group_takes_all() -> None:
    policy = GroupDRO(COUNTS, step_size=1.0, floor=0.0)
    for _ in range(5):
        policy.update(batch([0.7] * 4, [0, 1, 2, 3]))
    torch.testing.assert_close(policy.q, torch.full((4,), 0.25, dtype=torch.float64))
    for _ in range(200):
        policy.update(batch([0.1, 0.9, 0.1, 0.2], [0, 1, 2, 3]))
    torch.testing.assert_close(policy.q, double([0.0, 1.0, 0.0, 0.0]))
    before = policy.q
    policy.update(batch([0.1, 0.9, 0.1, 0.2], [0, 1, 2, 3]))
    torch.testing.assert_close(policy.q, before)


def test_one_step_is_the_exponentiated_gradient() -> None:
    policy = GroupDRO([10, 10, 10], step_size=0.5, floor=0.0)
    policy.update(batch([1.0, 3.0, 0.5, 0.0], [0, 0, 1, 2]))
    expected = torch.exp(0.5 * double([2.0, 0.5, 0.0]))
    torch.testing.assert_close(policy.q, expected / expected.sum())


@given(
    st.lists(batches(largest=1e4), min_size=1, max_size=6),
    st.sampled_from(["freeze", "zero_loss", "last"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 1e-6, 0.3]),
)
def test_q_stays_a_distribution_above_its_floor(
    steps: list[SampleLosses], absent: Any, normalize: bool, renormalize: bool, floor: float
) -> None:
    policy = GroupDRO(
        [3498, 184, 56, 0],
        step_size=1.0,
        absent=absent,
        normalize_losses=normalize,
        renormalize_present=renormalize,
        floor=floor,
    )
    for samples in steps:
        policy.update(samples)
        weights = policy.weights(samples)
        assert policy.q.isfinite().all()
        torch.testing.assert_close(policy.q.sum(), double([1.0])[0])
        assert policy.q[3] == 0
        assert (policy.q[:3] >= floor / 3 * (1 - 1e-9)).all()
        assert weights.isfinite().all()
        assert (weights >= 0).all()
        assert weights.sum() <= 1 + 1e-9


@pytest.mark.parametrize("losses", [[1e4, 0.0], [0.0, 0.0], [1e4, 1e4]])
@pytest.mark.parametrize("options", [{}, {"normalize_losses": True}, {"floor": 0.0}])
def test_extreme_losses_do_not_overflow(losses: list[float], options: dict[str, Any]) -> None:
    policy = GroupDRO([5, 5], **{"step_size": 1.0, **options})
    for _ in range(3):
        policy.update(batch(losses, [0, 1]))
        assert policy.q.isfinite().all()


def test_a_batch_of_one_sample() -> None:
    policy = GroupDRO(COUNTS, step_size=0.5)
    policy.update(batch([2.0], [2]))
    torch.testing.assert_close(policy.weights(batch([2.0], [2])), double([0.25]))


def test_a_group_that_was_easy_for_long_comes_back() -> None:
    policy = GroupDRO([5, 5], step_size=1.0)
    for _ in range(5000):
        policy.update(batch([3.0, 0.0], [0, 1]))
    assert policy.q[1] > 0
    for _ in range(20):
        policy.update(batch([0.0, 3.0], [0, 1]))
    assert policy.q[1] > 0.99


def test_absent_groups_freeze_by_default() -> None:
    policy = GroupDRO(COUNTS, step_size=0.5)
    policy.update(batch([1.0, 2.0, 3.0], [0, 1, 2]))
    torch.testing.assert_close(policy.q[3], double([0.25])[0], rtol=0, atol=1e-16)
    frozen = policy.q
    policy.update(batch([9.0], [1]))
    torch.testing.assert_close(policy.q, frozen, rtol=0, atol=1e-15)


def test_absent_groups_as_the_authors_treat_them() -> None:
    policy = GroupDRO([10, 10], step_size=0.5, absent="zero_loss", floor=0.0)
    policy.update(batch([1.0], [0]))
    expected = torch.exp(0.5 * double([1.0, 0.0]))
    torch.testing.assert_close(policy.q, expected / expected.sum())


def test_absent_groups_may_keep_their_last_loss() -> None:
    policy = GroupDRO([10, 10], step_size=0.5, absent="last", floor=0.0)
    policy.update(batch([1.0, 2.0], [0, 1]))
    policy.update(batch([1.0, 4.0], [0, 1]))
    policy.update(batch([1.0], [0]))
    expected = torch.exp(0.5 * double([3.0, 10.0]))
    torch.testing.assert_close(policy.q, expected / expected.sum())


def test_renormalize_present_restores_the_mass_of_absent_groups() -> None:
    samples = batch([1.0, 2.0], [0, 1])
    lost, kept = (GroupDRO(COUNTS, step_size=0.0, renormalize_present=kind) for kind in (False, True))
    torch.testing.assert_close(lost.weights(samples).sum(), double([0.5])[0])
    torch.testing.assert_close(kept.weights(samples).sum(), double([1.0])[0])


def test_adjustments_move_q_but_not_the_objective() -> None:
    samples = batch([1.0, 1.0], [0, 1])
    policy = GroupDRO([4, 100], step_size=0.5, adjustment=2.0, floor=0.0, absent="last")
    policy.update(samples)
    expected = torch.exp(0.5 * double([2.0 / 2, 2.0 / 10]))
    torch.testing.assert_close(policy.q, expected / expected.sum())
    torch.testing.assert_close(policy.average_loss, double([1.0, 1.0]))
    torch.testing.assert_close((policy.weights(samples) * samples.loss).sum(), double([1.0])[0])


def test_one_nonpositive_adjustment_does_not_switch_off_the_others() -> None:
    samples = batch([1.0, 1.0, 1.0], [0, 1, 2])
    policy = GroupDRO([4, 4, 4], step_size=1.0, adjustment=[2.0, 0.0, -2.0], floor=0.0)
    policy.update(samples)
    torch.testing.assert_close(policy.q, double([1.0, 0.0, -1.0]).softmax(0))


def test_an_adjustment_does_not_lift_an_absent_group() -> None:
    policy = GroupDRO([100, 1], step_size=1.0, adjustment=3.0)
    policy.update(batch([0.1], [0]))
    torch.testing.assert_close(policy.q, double([0.5, 0.5]))


@pytest.mark.parametrize(
    "options",
    [
        {"adjustment": "automatic"},
        {"adjustment": [1.0, 2.0]},
        {"adjustment": float("nan")},
        {"alpha": 0.3},
        {"btl": True, "alpha": 0.0},
        {"btl": True, "step_size": 0.5},
        {"btl": True, "absent": "last"},
        {"floor": 1.0},
        {"step_size": -1.0},
    ],
)
def test_what_cannot_be_obeyed_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, the messages differ
        GroupDRO(COUNTS, **options)


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1]])
def test_impossible_counts_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="training counts"):
        GroupDRO(counts)


@given(batches(), st.floats(0.01, 1.0), st.floats(0.0, 1.0))
def test_btl_is_a_bounded_mixture(samples: SampleLosses, alpha: float, kept: float) -> None:
    policy = GroupDRO(COUNTS, btl=True, alpha=alpha, minimum_variational_weight=kept)
    policy.update(samples)
    torch.testing.assert_close(policy.q.sum(), double([1.0])[0])
    assert (policy.q <= policy.shares * (kept + (1 - kept) / alpha) + 1e-12).all()
    assert (policy.q >= policy.shares * kept - 1e-12).all()


def test_btl_that_must_cover_everything_is_the_data_mixture() -> None:
    policy = GroupDRO(COUNTS, btl=True, alpha=1.0)
    policy.update(batch([3.0, 1.0, 2.0, 0.0], [0, 1, 2, 3]))
    torch.testing.assert_close(policy.q, policy.shares)


def test_running_averages_move_only_for_present_groups_and_start_at_the_first_loss() -> None:
    policy = GroupDRO([5, 5], btl=True, gamma=0.1)
    policy.update(batch([2.0], [0]))
    policy.update(batch([4.0, 1.0], [0, 1]))
    policy.update(batch([3.0], [1]))
    torch.testing.assert_close(policy.average_loss, double([2.2, 1.2]))
    assert not policy.average_loss.requires_grad
