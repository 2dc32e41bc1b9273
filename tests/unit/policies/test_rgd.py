from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from framework.policies import RGD, SampleLosses

LOSSES = st.lists(st.floats(0.0, 30.0), min_size=1, max_size=12)
CLIPS = st.floats(0.05, 20.0)


def samples(losses: Tensor) -> SampleLosses:
    n = len(losses)
    return SampleLosses(losses, torch.zeros(n, dtype=torch.int64), torch.arange(n), n)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def transformed(losses: Tensor, clip: float) -> Tensor:
    """phi_T: exponential up to T, then its tangent."""
    scale = clip + 1
    at_clip = scale * (math.exp(clip / scale) - 1)
    beyond = at_clip + math.exp(clip / scale) * (losses - clip)
    return torch.where(losses <= clip, scale * (torch.exp(losses.clamp(max=clip) / scale) - 1), beyond)


@given(LOSSES, CLIPS)
def test_gradient_is_that_of_the_transformed_mean(values: list[float], clip: float) -> None:
    losses = double(values).requires_grad_()
    (ours,) = torch.autograd.grad(RGD(clip=clip).objective(losses), losses)
    (identity,) = torch.autograd.grad(transformed(losses, clip).mean(), losses)
    torch.testing.assert_close(ours, identity, rtol=1e-12, atol=0)


@given(LOSSES, CLIPS)
def test_weights_of_nonnegative_losses_are_bounded(values: list[float], clip: float) -> None:
    weights = RGD(clip=clip).weights(samples(double(values))) * len(values)
    assert (weights >= 1).all()
    assert (weights <= math.exp(clip / (clip + 1)) * (1 + 1e-12)).all()
    assert (weights < math.e).all()


@given(LOSSES)
@pytest.mark.parametrize("clip", [1e-9, 1e9])
def test_both_limits_of_the_clip_are_erm(clip: float, values: list[float]) -> None:
    weights = RGD(clip=clip).weights(samples(double(values))) * len(values)
    torch.testing.assert_close(weights, torch.ones_like(weights), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("divergence", "at_half"), [("kl", math.exp(0.5)), ("chi_square", 1.5), ("reverse_kl", 2.0)]
)
def test_divergences(divergence: str, at_half: float) -> None:
    weights = RGD(clip=1.0, divergence=divergence).weights(samples(double([0.0, 1.0, 7.0])))  # type: ignore[arg-type]
    torch.testing.assert_close(weights * 3, double([1.0, at_half, at_half]))


@given(LOSSES, CLIPS, st.sampled_from(["kl", "chi_square", "reverse_kl"]))
def test_normalizations(values: list[float], clip: float, divergence: str) -> None:
    batch = samples(double(values))
    plain, mean_one, sum_one = (
        RGD(clip=clip, divergence=divergence, normalization=kind).weights(batch)  # type: ignore[arg-type]
        for kind in ("none", "mean_one", "sum_one")
    )
    torch.testing.assert_close(mean_one.sum(), double([1.0])[0])
    torch.testing.assert_close(sum_one, plain / plain.sum())
    assert torch.equal(mean_one, sum_one)


def test_needs_the_batch_only_when_normalized() -> None:
    assert not RGD().needs_batch
    assert RGD(normalization="mean_one").needs_batch
    assert RGD(normalization="sum_one").needs_batch


@pytest.mark.parametrize("divergence", ["kl", "chi_square", "reverse_kl"])
@pytest.mark.parametrize("normalization", ["none", "mean_one", "sum_one"])
def test_negative_losses_give_finite_nonnegative_weights(divergence: str, normalization: str) -> None:
    policy = RGD(divergence=divergence, normalization=normalization)  # type: ignore[arg-type]
    for values in ([-50.0, -3.0, -0.1], [-9.0], [-1e4, 1e4]):
        weights = policy.weights(samples(double(values)))
        assert weights.isfinite().all()
        assert (weights >= 0).all()


def test_exponent_of_bfloat16_losses_is_taken_in_float32() -> None:
    losses = torch.linspace(0, 3, 50).bfloat16()
    weights = RGD(clip=3.0).weights(samples(losses))
    exact = RGD(clip=3.0).weights(samples(losses.double()))
    assert weights.dtype == torch.bfloat16
    assert torch.equal(weights, exact.bfloat16())


def test_a_batch_mean_is_refused() -> None:
    with pytest.raises(ValueError, match="per sample"):
        RGD().objective(torch.tensor(2.0, requires_grad=True))
    with pytest.raises(AssertionError, match="per sample"):
        SampleLosses(torch.ones(2, 3), torch.zeros(2), torch.zeros(2), 2)


def test_weights_carry_no_gradient() -> None:
    losses = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    policy = RGD(clip=3.0)
    (gradient,) = torch.autograd.grad(policy.objective(losses), losses)
    assert torch.equal(gradient, policy.weights(samples(losses.detach())))


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_impossible_clips_are_refused(clip: float) -> None:
    with pytest.raises(ValueError, match="clip"):
        RGD(clip=clip)
