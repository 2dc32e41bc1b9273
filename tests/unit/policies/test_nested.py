"""Trimming and deferral around every policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch

from framework.errors import CheckpointError
from framework.policies import ALSO, ERM, RGD, CVaR, Deferred, GroupDRO, Policy, SampleLosses, Trimmed
from tests.unit.policies.test_contract import COUNTS, batch, each_policy


@each_policy
def test_trimming_nothing_and_deferring_nothing_is_the_policy(make: Callable[[], Policy]) -> None:
    alone, trimmed = make(), Trimmed(fraction=0.0, base=make())
    before = ERM()
    before.extrapolation = alone.extrapolation
    deferred = Deferred(base=make(), before=before, step=0)
    for seed in range(4):
        expected = alone.step(batch(seed))
        assert torch.equal(trimmed.step(batch(seed)), expected)
        assert torch.equal(deferred.step(batch(seed)), expected)
    for name, value in alone.state_dict().items():
        assert torch.equal(trimmed.state_dict()[f"base.{name}"], value)
        assert torch.equal(deferred.state_dict()[f"base.{name}"], value)
    for policy in (trimmed, deferred):
        assert policy.needs_groups == alone.needs_groups
        assert policy.required_extra == alone.required_extra
        assert policy.may_be_negative == alone.may_be_negative
        assert policy.extrapolation == alone.extrapolation
        assert policy.numbers().keys() == alone.numbers().keys()


@each_policy
def test_a_trimmed_policy_sees_the_smallest_losses_only(make: Callable[[], Policy]) -> None:
    alone, trimmed = make(), Trimmed(fraction=0.25, base=make())
    for seed in range(3):
        samples = batch(seed)
        kept = samples.loss < samples.loss.sort().values[9]
        part = SampleLosses(
            samples.loss[kept],
            samples.groups[kept],
            samples.index[kept],
            9,
            {name: column[kept] for name, column in samples.extra.items()},
        )
        expected = torch.zeros(12, dtype=torch.float64)
        expected[kept] = alone.step(part)
        assert torch.equal(trimmed.step(samples), expected)


@each_policy
def test_a_deferred_policy_starts_afresh_at_its_step(make: Callable[[], Policy]) -> None:
    alone, before = make(), ERM()
    before.extrapolation = alone.extrapolation
    deferred = Deferred(base=make(), before=before, step=2)
    for seed in range(5):
        if seed == 3:  # killed and resumed
            saved, deferred = deepcopy(deferred.state_dict()), Deferred(base=make(), before=before, step=2)
            deferred.load_state_dict(saved)
        assert deferred.needs_batch == (alone.needs_batch if seed >= 2 else False)
        found = deferred.step(batch(seed))
        expected = ERM().weights(batch(seed)) if seed < 2 else alone.step(batch(seed))
        assert torch.equal(found, expected)


def test_a_skipped_step_does_not_count() -> None:
    policy = Deferred(base=CVaR(), step=1)
    before = policy.state_dict()
    policy.step(batch(0))
    assert policy.active is policy.base
    policy.load_state_dict(before)
    assert policy.active is policy.before
    assert not policy.needs_batch


def test_cvar_doro_is_the_mean_over_its_ranks() -> None:
    """Zhai et al.: ranks eps B to (eps + alpha (1 - eps)) B, over alpha (B - floor(eps B))."""
    losses = torch.arange(20.0, dtype=torch.float64)
    samples = SampleLosses(losses, torch.zeros(20, dtype=torch.int64), torch.arange(20), 20)
    found = Trimmed(fraction=0.2, base=CVaR(alpha=0.25)).step(samples)
    assert found.nonzero().flatten().tolist() == [12, 13, 14, 15]
    assert torch.allclose(found[12:16], torch.tensor(0.25).double())


def test_a_fraction_is_what_it_says_in_decimals() -> None:
    samples = batch(0, n=10)
    assert int((Trimmed(fraction=0.3, base=ERM()).step(samples) == 0).sum()) == 3


def test_trimming_refuses_to_remove_a_group(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"remove all of c: .*rare_groups: warn"):
        Trimmed([70, 20, 10, 0], group_names=["a", "b", "c", "d"], fraction=0.1, base=RGD())
    with caplog.at_level(logging.WARNING):
        Trimmed([70, 20, 10, 0], fraction=0.1, base=RGD(), rare_groups="warn")
    assert "remove all of group 2" in caplog.text
    Trimmed([70, 20, 10, 0], [0.4, 0.3, 0.3, 0.0], fraction=0.1, base=RGD())
    with pytest.raises(ValueError, match="below 1"):
        Trimmed(fraction=1.0, base=RGD())


def test_deferral_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="give epoch or step"):
        Deferred(base=CVaR())
    with pytest.raises(ValueError, match="updates_per_epoch"):
        Deferred(base=CVaR(), epoch=3)
    with pytest.raises(ValueError, match="half step"):
        Deferred(base=ALSO(COUNTS), step=3)
    assert Deferred(7, base=CVaR(), epoch=3).start == 21


def test_numbers_of_two_policies_that_meet_carry_their_place() -> None:
    policy = Deferred(base=GroupDRO(COUNTS), before=GroupDRO(COUNTS), step=1)
    assert set(policy.numbers()) == {"base.q", "before.q"}


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(CheckpointError, match="keeps no 'q'"):
        Trimmed(base=RGD()).load_state_dict(GroupDRO(COUNTS).state_dict())
