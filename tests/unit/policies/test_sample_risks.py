"""Per-sample risks against the authors' numbers, their definitions, and their limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from framework.policies import ABSGD, RGD, ChiSquare, CVaR, Focal, Policy, SampleLosses, Spectral, Tilted

REFERENCE = np.load(Path(__file__).parents[2] / "reference" / "dro_weights_reference.npz")
RECORDED: dict[str, Callable[..., Policy]] = {
    "cvar": lambda alpha: CVaR(alpha=alpha),
    "klcvar": lambda alpha, regularization: CVaR(alpha=alpha, regularization=regularization),
    "chi2_constrained": lambda radius: ChiSquare(radius=radius),
    "chi2_penalized": lambda penalty: ChiSquare(penalty=penalty),
}
losses_of_a_batch = st.lists(st.floats(0, 20), min_size=1, max_size=12)
fast = settings(max_examples=30)


def given_losses(losses: Tensor) -> SampleLosses:
    n = len(losses)
    return SampleLosses(losses, torch.zeros(n, dtype=torch.int64), torch.arange(n), n)


def weights(policy: Policy, losses: list[float]) -> Tensor:
    return policy.step(given_losses(torch.tensor(losses, dtype=torch.float64)))


def slope(risk: Callable[[Tensor], Tensor], losses: list[float]) -> Tensor:
    """The derivative of a risk by the losses, which is what the weights have to be."""
    leaf = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(risk(leaf), leaf)
    return gradient


@pytest.mark.parametrize("entry", [name for name in REFERENCE.files if "/" in name])
def test_recorded_best_responses(entry: str) -> None:
    case, losses = entry.split("/")
    name = next(n for n in sorted(RECORDED, key=len, reverse=True) if case.startswith(f"{n}_"))
    policy = RECORDED[name](*map(float, case.removeprefix(f"{name}_").split("_")))
    found = policy.weights(given_losses(torch.from_numpy(REFERENCE[losses])))
    np.testing.assert_allclose(found.numpy(), REFERENCE[entry], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "policy",
    [
        CVaR(alpha=1.0),
        CVaR(alpha=1.0, regularization=0.3),
        CVaR(alpha=0.4, regularization=1e9),
        ChiSquare(radius=0.0),
        ChiSquare(alpha=1.0),
        ChiSquare(penalty=1e9),
        Tilted(t=0.0),
        Tilted(t=1e-9, average=0.5),
        ABSGD(temperature=1e9),
        Spectral(alpha=1.0),
        Spectral(spectrum="extremile", draws=1.0),
        Spectral(spectrum="esrm", risk=1e-7),
        Focal(gamma=0.0),
    ],
    ids=lambda policy: type(policy).__name__,
)
@fast
@given(losses_of_a_batch)
def test_limits_are_erm(policy: Policy, losses: list[float]) -> None:
    assert torch.allclose(weights(policy, losses), torch.tensor(1.0 / len(losses)).double(), atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CVaR(alpha=0.3),
        lambda: CVaR(alpha=0.3, regularization=0.5),
        lambda: ChiSquare(radius=0.7),
        lambda: ChiSquare(penalty=2.0),
        lambda: Tilted(t=-1.5),
        lambda: ABSGD(gamma=1.0),
        lambda: Spectral(spectrum="extremile", draws=3.0),
    ],
)
@fast
@given(losses_of_a_batch)
def test_a_constant_changes_nothing_and_the_weights_sum_to_one(
    make: Callable[[], Policy], losses: list[float]
) -> None:
    # Whole steps: a difference that the shift swallows would be another batch.
    losses = [float(round(loss, 3)) for loss in losses]
    found = weights(make(), losses)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-12)
    shifted = weights(make(), [loss + 512.0 for loss in losses])
    assert torch.allclose(found, shifted, atol=1e-6)


@fast
@given(losses_of_a_batch, st.floats(0.01, 1.0))
def test_cvar_is_the_mean_of_the_largest_with_the_fraction_of_the_next(
    losses: list[float], alpha: float
) -> None:
    risk, left = 0.0, alpha * len(losses)
    for loss in sorted(losses, reverse=True):
        risk += loss * min(1.0, max(left, 0.0)) / (alpha * len(losses))
        left -= 1.0
    expected = max(losses) if alpha * len(losses) < 1 else risk
    found = weights(CVaR(alpha=alpha), losses)
    assert float(found @ torch.tensor(losses, dtype=torch.float64)) == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(found, weights(Spectral(alpha=alpha), losses), atol=1e-12)


@fast
@given(losses_of_a_batch, st.floats(0.05, 0.95))
def test_the_dual_of_hashimoto_has_the_same_value(losses: list[float], alpha: float) -> None:
    values = torch.tensor(losses, dtype=torch.float64)
    found = float(weights(ChiSquare(alpha=alpha), losses) @ values)
    factor = (1.0 + (1.0 / alpha - 1.0) ** 2) ** 0.5
    etas = torch.linspace(float(values.min()) - 60.0, float(values.max()), 40001, dtype=torch.float64)
    above = (values[:, None] - etas).clamp(min=0.0)
    dual = (factor * above.square().mean(0).sqrt() + etas).min()
    # Weak duality holds for every eta; the grid and a minimum beyond it leave a little.
    assert found <= float(dual) + 1e-9
    if alpha < 0.8:
        assert found == pytest.approx(float(dual), abs=2e-2)


@fast
@given(st.lists(st.floats(0, 5), min_size=1, max_size=10), st.floats(-3, 3).filter(lambda t: abs(t) > 1e-3))
def test_tilting_is_the_gradient_of_the_tilted_risk(losses: list[float], t: float) -> None:
    expected = slope(lambda v: (t * v).exp().mean().log() / t, losses)
    assert torch.allclose(weights(Tilted(t=t), losses), expected, atol=1e-12)
    assert torch.allclose(
        weights(ABSGD(temperature=1 / abs(t), gamma=1.0, direction=_direction(t)), losses),
        expected,
        atol=1e-9,
    )


def _direction(t: float) -> str:
    return "hard" if t > 0 else "easy"


def test_tilting_of_groups_is_the_gradient_of_equation_4() -> None:
    groups = torch.tensor([0, 2, 2, 0, 2, 1, 0])
    losses = [0.3, 2.0, 1.0, 0.5, 4.0, 0.2, 1.1]
    samples = SampleLosses(torch.tensor(losses).double(), groups, torch.arange(7), 7)

    def risk(values: Tensor, t: float, tau: float) -> Tensor:
        total = values.new_zeros(())
        for group in range(3):
            inside = values[groups == group]
            tilted = (tau * inside).exp().mean().log() / tau if tau else inside.mean()
            total = total + len(inside) * (t * tilted).exp()
        return (total / 7).log() / t

    for t, tau in ((2.0, 0.0), (-1.0, 0.0), (2.0, -1.5), (1.3, 1.3)):
        level = "hierarchical" if tau else "groups"
        policy = Tilted([3, 3, 3, 0], t=t, tau=tau, level=level)  # type: ignore[arg-type]
        expected = slope(lambda v, t=t, tau=tau: risk(v, t, tau), samples.loss.tolist())
        assert torch.allclose(policy.weights(samples), expected, atol=1e-12)
    same = Tilted([3, 3, 3, 0], t=1.3, tau=1.3, level="hierarchical").weights(samples)
    assert torch.allclose(same, Tilted(t=1.3).weights(samples), atol=1e-12)
    nearly = Tilted([3, 3, 3, 0], t=1e-9, level="groups").weights(samples)
    assert torch.allclose(nearly, torch.full((7,), 1 / 7).double(), atol=1e-8)


def test_a_moving_normaliser_moves_by_its_rate_before_it_is_used() -> None:
    batches = [[1.0, 2.0], [0.5, 3.0, 1.0], [2.0]]
    for policy, scale, rate in (
        (ABSGD(temperature=2.0, gamma=0.3), 0.5, 0.3),
        (Tilted(t=1.5, average=0.1), 1.5, 0.1),
    ):
        u = None
        for losses in batches:
            exponentials = np.exp(scale * np.array(losses))
            u = exponentials.mean() if u is None else (1 - rate) * u + rate * exponentials.mean()
            np.testing.assert_allclose(weights(policy, losses).numpy(), exponentials / u / len(losses))


@fast
@given(losses_of_a_batch, st.sampled_from(["superquantile", "extremile", "esrm"]))
def test_a_spectral_risk_is_the_sum_over_sorted_losses(losses: list[float], spectrum: str) -> None:
    n = len(losses)
    edges = np.arange(n + 1) / n
    integral = {
        "superquantile": np.maximum(0.0, (edges - 0.5) / 0.5),
        "extremile": edges**2,
        "esrm": (np.exp(edges) - 1) * np.exp(-1) / (1 - np.exp(-1)),
    }[spectrum]
    found = weights(Spectral(spectrum=spectrum), losses)  # type: ignore[arg-type]
    risk = float(found @ torch.tensor(losses, dtype=torch.float64))
    assert risk == pytest.approx(float(np.diff(integral) @ np.sort(losses)), abs=1e-9)


@fast
@given(st.lists(st.floats(1e-6, 20), min_size=1, max_size=10), st.floats(0.1, 5))
def test_focal_weights_are_the_gradient_of_the_focal_loss(losses: list[float], gamma: float) -> None:
    expected = slope(lambda v: ((1 - (-v).exp()) ** gamma * v).mean(), losses)
    assert torch.allclose(weights(Focal(gamma=gamma), losses), expected, rtol=1e-6, atol=1e-12)
    factor = (1 - (-torch.tensor(losses).double()).exp()) ** gamma / len(losses)
    assert torch.allclose(weights(Focal(gamma=gamma, gradient="factor"), losses), factor, rtol=1e-6)


def test_rgd_is_absgd_with_u_of_one() -> None:
    losses = [0.2, 1.0, 2.5]
    policy = ABSGD(temperature=4.0, gamma=1e-300)
    policy.started = torch.ones((), dtype=torch.bool)
    assert torch.allclose(weights(policy, losses), weights(RGD(clip=3.0), losses))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChiSquare(alpha=0.5, penalty=1.0), "exclude each other"),
        (lambda: Tilted(t=1.0, tau=1.0), "tau belongs"),
        (lambda: Tilted([1], level="groups", average=0.5), "average belongs"),
        (lambda: Tilted(level="groups"), "needs group_counts"),
        (lambda: Spectral(spectrum="esrm", draws=3.0), "draws belongs"),
        (lambda: CVaR(alpha=0.0), "greater than 0"),
        (lambda: Focal(gamma=-1.0), "greater than or equal to 0"),
    ],
)
def test_options_that_cannot_be_obeyed(make: Callable[[], Policy], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
