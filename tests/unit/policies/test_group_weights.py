"""Group policies against their definitions and limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from framework.policies import (
    ALSO,
    ERM,
    ClassBalanced,
    CVaR,
    DoReMi,
    GroupCVaR,
    GroupDRO,
    Importance,
    SampleLosses,
    VREx,
)

COUNTS = [60, 30, 10, 0]
LOSSES = [0.3, 2.0, 1.0, 0.5, 4.0, 0.2, 1.1, 0.9]
GROUPS = [0, 2, 2, 0, 1, 1, 0, 0]


def batch(losses: list[float] = LOSSES, groups: list[int] = GROUPS, **extra: list[float]) -> SampleLosses:
    values = torch.tensor(losses, dtype=torch.float64)
    columns = {name: torch.tensor(column, dtype=torch.float64) for name, column in extra.items()}
    return SampleLosses(values, torch.tensor(groups), torch.arange(len(losses)), len(losses), columns)


def means(values: Tensor, groups: list[int]) -> Tensor:
    ids = torch.tensor(groups)
    return torch.stack([values[ids == group].mean() for group in sorted(set(groups))])


def test_importance_weights_are_n_over_groups_times_count() -> None:
    found = Importance(COUNTS).group_weights
    assert torch.allclose(found[:3], torch.tensor([100 / 3 / n for n in COUNTS[:3]]).double())
    assert float(found[3]) == 0.0
    assert torch.allclose(Importance(COUNTS, power=0.0).weights(batch()), ERM().weights(batch()))
    root = Importance(COUNTS, power=0.5).group_weights
    assert float(root[2] / root[0]) == pytest.approx(6**0.5)


def test_importance_is_also_with_a_static_prior() -> None:
    also = ALSO(COUNTS, mode="descent_ascent", pi_lr=0.0, pi_reg="inverse_frequency", loss_scale="auto")
    ratio = Importance(COUNTS).weights(batch()) / also.weights(batch())
    assert torch.allclose(ratio, ratio[0].expand(8))


def test_class_balanced_weights_follow_the_effective_number() -> None:
    n, beta = np.array(COUNTS[:3]), 0.99
    unscaled = (1 - beta) / (1 - beta**n)
    paper = ClassBalanced(COUNTS, beta=beta, scale="num_groups").group_weights[:3].numpy()
    np.testing.assert_allclose(paper, unscaled / unscaled.sum() * 3)
    expected_one = ClassBalanced(COUNTS, beta=beta).group_weights[:3].numpy()
    np.testing.assert_allclose(expected_one @ (n / 100), 1.0)
    np.testing.assert_allclose(expected_one / paper, (expected_one / paper)[0])
    assert torch.allclose(ClassBalanced(COUNTS, beta=0.0).weights(batch()), ERM().weights(batch()))
    nearly = ClassBalanced(COUNTS, beta=1 - 1e-9).group_weights
    assert torch.allclose(nearly, Importance(COUNTS).group_weights, rtol=1e-6)


def test_the_expected_weight_follows_the_sampler() -> None:
    shares = [0.2, 0.2, 0.6, 0.0]
    found = Importance(COUNTS, shares).group_weights
    assert float(found @ torch.tensor(shares).double()) == pytest.approx(1.0)
    assert torch.allclose(found, torch.tensor([1 / 0.6, 1 / 0.6, 1 / 1.8, 0.0]).double())
    balanced = Importance(COUNTS, [1 / 3, 1 / 3, 1 / 3, 0.0]).group_weights
    assert torch.allclose(balanced, torch.tensor([1.0, 1.0, 1.0, 0.0]).double())
    with pytest.raises(ValueError, match="group_shares"):
        Importance(COUNTS, [1.0, 0.0])


def test_group_cvar_by_hand() -> None:
    # group means 0.7, 2.1, 1.5 with shares 1/2, 1/4, 1/4 of the batch; half of it is groups 1 and 2
    found = GroupCVaR(COUNTS, alpha=0.5).weights(batch())
    expected = torch.where(torch.tensor(GROUPS) == 0, 0.0, 0.25).double()
    assert torch.allclose(found, expected)
    uniform = GroupCVaR(COUNTS, alpha=1 / 3, shares="uniform").weights(batch())
    assert torch.allclose(uniform, torch.where(torch.tensor(GROUPS) == 1, 0.5, 0.0).double())


def test_group_cvar_of_the_whole_batch_is_erm_and_of_single_samples_is_cvar() -> None:
    assert torch.allclose(GroupCVaR(COUNTS, alpha=1.0).weights(batch()), ERM().weights(batch()))
    alone = batch(groups=list(range(8)))
    found = GroupCVaR([1] * 8, alpha=0.3).weights(alone)
    assert torch.allclose(found, CVaR(alpha=0.3).weights(alone))
    tied = batch(losses=[1.0] * 8)
    assert torch.allclose(GroupCVaR(COUNTS, alpha=0.3).weights(tied), ERM().weights(tied))


def test_group_cvar_on_training_shares_is_the_greedy_mixture_of_group_dro() -> None:
    own = GroupCVaR(COUNTS, alpha=0.4, shares="training").step(batch())
    btl = GroupDRO(COUNTS, btl=True, alpha=0.4, gamma=1.0).step(batch())
    assert torch.allclose(own, btl)


def test_vrex_is_the_gradient_of_mean_and_variance() -> None:
    values = torch.tensor(LOSSES, dtype=torch.float64, requires_grad=True)
    risks = means(values, GROUPS)
    objective = risks.mean() + 10.0 * (risks - risks.mean()).square().mean()
    (expected,) = torch.autograd.grad(objective, values)
    found = VREx(COUNTS, penalty=10.0, anneal_steps=0).step(batch())
    assert torch.allclose(found, expected)
    assert (found < 0).any()


def test_vrex_warms_up() -> None:
    policy = VREx(COUNTS, penalty=3.0, anneal_steps=2, anneal_penalty=0.5)
    found = [policy.step(batch()) for _ in range(3)]
    for weights, penalty in zip(found, (0.5, 0.5, 3.0), strict=True):
        expected = VREx(COUNTS, penalty=penalty, anneal_steps=0).step(batch())
        assert torch.allclose(weights, expected)
    one_group = batch(groups=[1] * 8)
    assert torch.allclose(policy.step(one_group), ERM().weights(one_group))


def test_doremi_without_a_reference_is_group_dro() -> None:
    doremi = DoReMi(COUNTS, eta=0.5, smoothing=0.01)
    dro = GroupDRO(COUNTS, step_size=0.5, floor=0.01, absent="last")
    alphas = []
    for losses in (LOSSES, LOSSES[::-1], [2 * loss for loss in LOSSES]):
        samples = batch(losses, baseline_loss=[0.0] * 8)
        assert torch.allclose(doremi.step(samples), dro.step(samples))
        alphas.append(doremi.alpha)
    assert torch.allclose(doremi.alpha_average, torch.stack(alphas).mean(0))
    assert torch.equal(doremi.numbers()["alpha_average"], doremi.alpha_average)


def test_doremi_clips_the_excess_and_keeps_the_score_of_an_absent_domain() -> None:
    policy = DoReMi([1, 1, 1], eta=1.0, smoothing=0.0)
    policy.update(batch([2.0, 1.0, 3.0], [0, 1, 2], baseline_loss=[1.0, 5.0, 1.0]))
    assert policy.excess.tolist() == [1.0, 0.0, 2.0]
    policy.update(batch([2.0], [0], baseline_loss=[2.0]))
    assert policy.excess.tolist() == [0.0, 0.0, 2.0]
    assert torch.allclose(policy.alpha, torch.tensor([1.0, 0.0, 4.0]).double().softmax(0))
    given = DoReMi([1, 1, 1], eta=1.0, smoothing=0.0)
    given.update(batch([9.0] * 3, [0, 1, 2], excess_loss=[1.0, 0.0, 2.0], baseline_loss=[9.0] * 3))
    assert given.excess.tolist() == [1.0, 0.0, 2.0]


def test_doremi_normalises_over_domains_or_over_all_tokens() -> None:
    tokens = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    samples = batch(baseline_loss=[0.0] * 8, num_tokens=tokens)
    ids, sizes = torch.tensor(GROUPS), torch.tensor(tokens).double()
    by_domain = DoReMi(COUNTS, eta=0.3)
    found = by_domain.step(samples)
    for domain in range(3):
        assert float(found[ids == domain].sum()) == pytest.approx(float(by_domain.alpha[domain]))
    shares = torch.tensor([0.5, 0.3, 0.2, 0.0]).double()
    by_token = DoReMi(COUNTS, shares.tolist(), eta=0.3, normalization="tokens")
    found = by_token.step(samples)
    density = sizes * (by_token.alpha / shares)[ids]
    assert torch.allclose(found, density / density.sum())


def test_doremi_asks_for_its_column() -> None:
    with pytest.raises(ValueError, match="excess_loss or baseline_loss"):
        DoReMi([1, 1]).objective(torch.ones(2, requires_grad=True), torch.tensor([0, 1]))
