"""What every policy promises, whatever its formula."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.errors import CheckpointError
from framework.policies import (
    ABSGD,
    ALSO,
    ERM,
    RGD,
    ChiSquare,
    ClassBalanced,
    CVaR,
    Deferred,
    DoReMi,
    Focal,
    GroupCVaR,
    GroupDRO,
    Policy,
    SampleLosses,
    Spectral,
    Tilted,
    Trimmed,
    VREx,
)
from framework.policies.nested import Nested
from framework.registry import registry

COUNTS = [70, 20, 10, 0]
SHARES = [0.4, 0.3, 0.3, 0.0]
CONF = Path(__file__).parents[3] / "conf" / "policy"


def shipped(path: Path) -> Policy:
    """The policy of a file in conf/policy, built as the assembly does."""
    section = yaml.safe_load(path.read_text())
    config = registry.get("policy", section["name"]).model.model_validate(section)
    policy: Policy = registry.build(
        "policy",
        config,
        group_counts=COUNTS,
        group_shares=SHARES,
        group_names=["a", "b", "c", "d"],
        class_shares=None,
        class_names=None,
        batch_size=12,
        updates_per_epoch=5,
    )
    return policy


FILES: dict[str, Callable[[], Policy]] = {
    path.stem: partial(shipped, path) for path in sorted(CONF.glob("*.yaml"))
}
VARIANTS: dict[str, Callable[[], Policy]] = {
    "rgd_normalized": lambda: RGD(normalization="mean_one", divergence="reverse_kl"),
    "group_dro_fast": lambda: GroupDRO(COUNTS, step_size=0.5, adjustment=1.0),
    "group_dro_last": lambda: GroupDRO(COUNTS, step_size=0.5, absent="last", renormalize_present=True),
    "group_dro_btl_mixed": lambda: GroupDRO(COUNTS, btl=True, minimum_variational_weight=0.2),
    "also_fast": lambda: ALSO(COUNTS, pi_lr=0.5, pi_decay=0.1, pi_reg="inverse_frequency"),
    "also_mean": lambda: ALSO(COUNTS, pi_lr=0.5, payoff="mean"),
    "cvar_regularized": lambda: CVaR(alpha=0.3, regularization=0.1),
    "chi_square_penalized": lambda: ChiSquare(penalty=0.5),
    "chi_square_dual": lambda: ChiSquare(alpha=0.4),
    "tilted_away": lambda: Tilted(t=-2.0),
    "tilted_average": lambda: Tilted(t=3.0, average=0.1),
    "tilted_groups": lambda: Tilted(COUNTS, t=2.0, level="groups"),
    "tilted_hierarchical": lambda: Tilted(COUNTS, t=2.0, tau=-1.0, level="hierarchical"),
    "absgd_slow": lambda: ABSGD(temperature=0.5, direction="easy", gamma=0.1),
    "spectral_extremile": lambda: Spectral(spectrum="extremile", draws=2.5),
    "spectral_esrm": lambda: Spectral(spectrum="esrm", risk=3.0),
    "focal_sharp": lambda: Focal(gamma=0.5),
    "focal_factor": lambda: Focal(gamma=1.5, gradient="factor"),
    "class_balanced_paper": lambda: ClassBalanced(COUNTS, beta=0.99, scale="num_groups"),
    "group_cvar_uniform": lambda: GroupCVaR(COUNTS, alpha=0.5, shares="uniform"),
    "group_cvar_training": lambda: GroupCVaR(COUNTS, alpha=0.5, shares="training"),
    "vrex_at_once": lambda: VREx(COUNTS, penalty=0.1, anneal_steps=0),
    "doremi_tokens": lambda: DoReMi(COUNTS, SHARES, smoothing=0.1, normalization="tokens"),
    "deferred_soon": lambda: Deferred(base=GroupDRO(COUNTS, step_size=0.5), before=RGD(), step=2),
    "trimmed_deferred": lambda: Trimmed(fraction=0.2, base=Deferred(base=CVaR(), step=1)),
    "deferred_trimmed": lambda: Deferred(
        base=Trimmed(base=ALSO(COUNTS, pi_lr=0.5)), before=ALSO(COUNTS), step=1
    ),
}
POLICIES = FILES | VARIANTS
each_policy = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys())


def with_columns(losses: torch.Tensor, groups: torch.Tensor) -> SampleLosses:
    """A batch with every column that a policy may ask for."""
    n = len(losses)
    index = torch.arange(n, device=losses.device)
    extra = {"baseline_loss": losses.flip(0) * 0.5, "num_tokens": index.to(losses.dtype) + 1.0}
    return SampleLosses(losses, groups, index, n, extra)


def batch(seed: int, n: int = 12, dtype: torch.dtype = torch.float64) -> SampleLosses:
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(n, generator=generator, dtype=torch.float64) * 4
    groups = torch.randint(0, 3, (n,), generator=generator)
    return with_columns(losses.to(dtype), groups)


def part(samples: SampleLosses, start: int, end: int) -> SampleLosses:
    rows = slice(start, end)
    return SampleLosses(
        samples.loss[rows],
        samples.groups[rows],
        samples.index[rows],
        samples.num_samples,
        {name: column[rows] for name, column in samples.extra.items()},
    )


@each_policy
@settings(max_examples=10)
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
    assert policy.may_be_negative or (weights >= 0).all()


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
        if isinstance(by_hand, Nested):  # the order is that of the policy inside
            weights = by_hand.step(samples)
        else:
            if by_hand.needs_batch:
                by_hand.update(samples)
            weights = by_hand.weights(samples)
            if not by_hand.needs_batch:
                by_hand.update(samples)
        objective = policy.objective(losses, samples.groups, samples.extra)
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
def test_numbers_are_scalars_or_one_per_group(make: Callable[[], Policy]) -> None:
    policy = make()
    policy.step(batch(0))
    for values in policy.numbers().values():
        assert values.shape in ((), (len(COUNTS),))


def test_every_registered_policy_is_here() -> None:
    built_in = {
        name
        for name in registry.names("policy")
        if registry.get("policy", name).target.__module__.startswith("framework.")
    }
    assert {yaml.safe_load(path.read_text())["name"] for path in CONF.glob("*.yaml")} == built_in


@each_policy
def test_the_host_never_waits_for_the_device(make: Callable[[], Policy]) -> None:
    """A meta tensor has no values: whoever asks for one, or for a shape that depends on one, fails."""
    device = torch.device("meta")
    policy = make().to(device)
    losses = torch.rand(12, device=device)
    for _ in range(3):
        weights = policy.step(with_columns(losses, torch.zeros(12, dtype=torch.int64, device=device)))
        assert weights.shape == (12,)


EDGES = {
    "zeros": ([0.0] * 6, [0, 1, 2, 0, 1, 2]),
    "equal": ([2.5] * 6, [0, 1, 2, 0, 1, 2]),
    "large": ([1e4] * 6, [0, 1, 2, 0, 1, 2]),
    "far apart": ([1e4, 0.0, 1e-8, 3.0, 1e4, 0.0], [0, 1, 2, 0, 1, 2]),
    "close": ([1.0, 1.0 + 1e-12, 1.0 - 1e-12, 1.0, 1.0, 1.0], [0, 1, 2, 0, 1, 2]),
    "one sample": ([0.7], [1]),
    "one group": ([0.1, 3.0, 0.2], [2, 2, 2]),
    "absent groups": ([0.1, 3.0, 0.2], [0, 2, 2]),
}


@each_policy
def test_weights_and_state_stay_finite(make: Callable[[], Policy]) -> None:
    for dtype in (torch.float32, torch.float64):
        for name, (losses, groups) in EDGES.items():
            policy, usual = make(), batch(0, dtype=dtype)
            extreme = with_columns(torch.tensor(losses, dtype=dtype), torch.tensor(groups))
            for samples in (extreme, usual, extreme, extreme):
                assert policy.step(samples).isfinite().all(), (name, dtype)
                assert all(value.isfinite().all() for value in policy.state_dict().values()), (name, dtype)


finite = st.floats(-1e30, 1e30, allow_nan=False)


@each_policy
@settings(max_examples=15)
@given(st.lists(st.tuples(finite, st.integers(0, 2)), min_size=1, max_size=9))
def test_any_finite_losses_give_finite_weights(
    make: Callable[[], Policy], rows: list[tuple[float, int]]
) -> None:
    policy = make()
    losses = torch.tensor([loss for loss, _ in rows], dtype=torch.float64)
    samples = with_columns(losses, torch.tensor([group for _, group in rows]))
    for _ in range(2):
        weights = policy.step(samples)
        assert weights.isfinite().all()
        assert policy.may_be_negative or (weights >= 0).all()


@each_policy
@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_order_of_the_samples_does_not_matter(make: Callable[[], Policy], seed: int) -> None:
    samples = batch(seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    shuffled = SampleLosses(
        samples.loss[order],
        samples.groups[order],
        samples.index[order],
        12,
        {name: column[order] for name, column in samples.extra.items()},
    )
    torch.testing.assert_close(make().step(shuffled), make().step(samples)[order], rtol=1e-9, atol=1e-12)
