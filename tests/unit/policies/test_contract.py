"""What every policy promises, whatever its formula."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from framework.errors import CheckpointError
from framework.policies import ALSO, ERM, RGD, GroupDRO, Policy, SampleLosses

COUNTS = [70, 20, 10, 0]

POLICIES: dict[str, Callable[[], Policy]] = {
    "erm": ERM,
    "rgd": RGD,
    "rgd_normalized": lambda: RGD(normalization="mean_one", divergence="reverse_kl"),
    "group_dro": lambda: GroupDRO(COUNTS, step_size=0.5, adjustment=1.0),
    "group_dro_last": lambda: GroupDRO(COUNTS, step_size=0.5, absent="last", renormalize_present=True),
    "group_dro_btl": lambda: GroupDRO(COUNTS, btl=True, minimum_variational_weight=0.2),
    "also": lambda: ALSO(COUNTS, pi_lr=0.5, pi_decay=0.1, pi_reg="inverse_frequency"),
    "also_descent_ascent": lambda: ALSO(COUNTS, mode="descent_ascent", pi_lr=0.5),
    "also_mean": lambda: ALSO(COUNTS, pi_lr=0.5, payoff="mean"),
}
each_policy = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys())


def batch(seed: int, n: int = 12, dtype: torch.dtype = torch.float64) -> SampleLosses:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(n, generator=generator, dtype=torch.float64) * 4
    groups = torch.randint(0, 3, (n,), generator=generator)
    return SampleLosses(losses.to(dtype), groups, torch.arange(n), n)


def part(samples: SampleLosses, start: int, end: int) -> SampleLosses:
    rows = slice(start, end)
    return SampleLosses(samples.loss[rows], samples.groups[rows], samples.index[rows], samples.num_samples)


@each_policy
@given(st.integers(0, 1000), st.integers(1, 11))
def test_parts_get_the_weights_of_the_whole(make: Callable[[], Policy], seed: int, cut: int) -> None:
    policy, samples = make(), batch(seed)
    policy.update(batch(seed + 1))
    if policy.needs_batch:
        return
    parts = [policy.weights(part(samples, 0, cut)), policy.weights(part(samples, cut, 12))]
    assert torch.equal(torch.cat(parts), policy.weights(samples))


@each_policy
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_are_detached_nonnegative_and_of_the_losses_dtype(
    make: Callable[[], Policy], dtype: torch.dtype
) -> None:
    policy, samples = make(), batch(0, dtype=dtype)
    policy.update(samples)
    weights = policy.weights(samples)
    assert weights.shape == (12,)
    assert weights.dtype == dtype
    assert not weights.requires_grad
    assert (weights >= 0).all()


@each_policy
def test_update_rebinds_the_state(make: Callable[[], Policy]) -> None:
    """A skipped step puts the old state back by keeping references to it."""
    policy = make()
    policy.update(batch(0))
    held = policy.state_dict()
    values = deepcopy(held)
    policy.update(batch(1))
    for name, tensor in held.items():
        assert torch.equal(tensor, values[name])
    assert all(tensor.dtype in (torch.float64, torch.bool) for tensor in held.values())


@each_policy
def test_a_restored_policy_continues_identically(make: Callable[[], Policy]) -> None:
    policy = make()
    for seed in range(4):
        policy.update(batch(seed))
    saved = deepcopy(policy.state_dict())
    restored = make()
    restored.load_state_dict(saved)
    for seed in range(4, 8):
        policy.update(batch(seed))
        restored.update(batch(seed))
        assert torch.equal(policy.weights(batch(seed)), restored.weights(batch(seed)))
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, restored.state_dict()[name])


def test_the_state_of_other_groups_is_refused() -> None:
    with pytest.raises(CheckpointError, match="groups differ"):
        GroupDRO([1, 2]).load_state_dict(GroupDRO([1, 2, 3]).state_dict())
    with pytest.raises(CheckpointError, match="keeps"):
        GroupDRO([1, 2]).load_state_dict(ALSO([1, 2]).state_dict())


@each_policy
def test_state_and_constants_move_together(make: Callable[[], Policy]) -> None:
    policy = make().to(torch.device("meta"))
    for name, value in vars(policy).items():
        if isinstance(value, torch.Tensor):
            assert value.device.type == "meta", name


@each_policy
def test_objective_is_the_step_in_one_call(make: Callable[[], Policy]) -> None:
    policy, by_hand = make(), make()
    for seed in range(3):
        samples = batch(seed)
        losses = samples.loss.clone().requires_grad_()
        if by_hand.needs_batch:
            by_hand.update(samples)
        weights = by_hand.weights(samples)
        if not by_hand.needs_batch:
            by_hand.update(samples)
        objective = policy.objective(losses, samples.groups)
        torch.testing.assert_close(objective.detach(), (weights * samples.loss).sum())
        (gradient,) = torch.autograd.grad(objective, losses)
        assert torch.equal(gradient, weights)


def test_objective_asks_for_what_it_needs() -> None:
    losses = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="group of each sample"):
        GroupDRO([1, 2]).objective(losses)
    with pytest.raises(ValueError, match="shape"):
        GroupDRO([1, 2]).objective(losses, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="per sample"):
        ERM().objective(losses.view(3, 1))


@each_policy
def test_numbers_are_one_per_group(make: Callable[[], Policy]) -> None:
    for values in make().numbers().values():
        assert values.shape == (len(COUNTS),)
