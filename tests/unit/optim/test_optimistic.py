"""One call per step is the two-stage algorithm, for any base optimizer."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.optim import chunks
from framework.optim.optimistic import LOOKAHEAD, Optimistic
from tests.unit.optim.optimistic_cases import (
    BASES,
    Make,
    assert_same,
    each_base,
    each_state,
    gradients,
    parameters,
    step,
    values,
)


def literal(make: Make, alpha: float, restored: bool, num_steps: int, rates: list[float]) -> list[Tensor]:
    """The two-stage algorithm as written: half step with the previous gradient, gradient, return, step."""
    params = parameters()
    base = make(params)
    previous: list[Tensor] | None = None
    for number in range(num_steps):
        for group in base.param_groups:
            group["lr"] = rates[number]
        true = values(params)
        if previous is not None:
            before = deepcopy(base.state_dict())
            for p, gradient in zip(params, previous, strict=True):
                p.grad = alpha * gradient
            base.step()
            if restored:
                base.load_state_dict(before)
        current = [
            noise + 0.3 * p.detach() for p, noise in zip(params, gradients(number, params), strict=True)
        ]
        with torch.no_grad():
            for p, value, gradient in zip(params, true, current, strict=True):
                p.copy_(value)
                p.grad = gradient.clone()
        base.step()
        previous = current
    return values(params)


@each_base
@each_state
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_one_call_is_the_two_stage_algorithm(make: Make, state: Any, alpha: float) -> None:
    rates = [0.1, 0.05, 0.2, 0.1, 0.02, 0.1]
    expected = literal(make, alpha, state == "restored", 6, rates)
    params = parameters()
    optimizer = Optimistic(make(params), alpha, state)
    for number in range(6):
        for group in optimizer.param_groups:
            group["lr"] = rates[number]
            group["next_lr"] = rates[min(number + 1, 5)]
        step(optimizer, params, number)
    with optimizer.true_point():
        for ours, theirs in zip(params, expected, strict=True):
            torch.testing.assert_close(ours.detach(), theirs, rtol=1e-12, atol=1e-14)


@each_base
@each_state
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_chunks_do_not_change_a_bit(
    make: Make, state: Any, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for chunk in (1, 2**20):
        monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", chunk)
        params = parameters()
        optimizer = Optimistic(make(params), alpha, state)
        for number in range(5):
            step(optimizer, params, number)
        with optimizer.true_point():
            runs.append(values(params))
        runs.append(values(params))
    assert_same(runs[0], runs[2])
    assert_same(runs[1], runs[3])


def test_alpha_zero_is_the_base_optimizer_only_without_momentum() -> None:
    for make, same in ((BASES["sgd"], True), (BASES["adagrad"], True), (BASES["adam"], False)):
        plain_params, params = parameters(), parameters()
        plain, optimizer = make(plain_params), Optimistic(make(params), 0.0)
        for number in range(4):
            step(plain, plain_params, number)
            step(optimizer, params, number)
        with optimizer.true_point():
            equal = all(torch.equal(a, b) for a, b in zip(params, plain_params, strict=True))
        assert equal is same


@each_base
@each_state
def test_gradients_are_left_as_they_were(make: Make, state: Any) -> None:
    params = parameters()
    optimizer = Optimistic(make(params), 0.3, state)
    given = gradients(0, params)
    kept = values(given)
    for p, gradient in zip(params, given, strict=True):
        p.grad = gradient
    optimizer.step()
    assert all(p.grad is gradient for p, gradient in zip(params, given, strict=True))
    assert_same(given, kept)


@each_state
def test_the_first_forward_pass_has_no_lookahead(state: Any) -> None:
    params = parameters()
    before = values(params)
    optimizer = Optimistic(BASES["adam"](params), state=state)
    assert_same(values(params), before)
    with optimizer.true_point():
        assert_same(values(params), before)
    assert_same(values(params), before)


@each_base
@each_state
def test_a_parameter_without_gradient_is_put_back_and_stays(make: Make, state: Any) -> None:
    params = parameters()
    optimizer = Optimistic(make(params), state=state)
    step(optimizer, params, 0)
    with optimizer.true_point():
        true = params[1].detach().clone()
    assert not torch.equal(params[1], true)
    for p, gradient in zip(params, gradients(1, params), strict=True):
        p.grad = gradient
    params[1].grad = None
    optimizer.step()
    assert torch.equal(params[1], true)
    with optimizer.true_point():
        assert torch.equal(params[1], true)
    step(optimizer, params, 2)
    assert not torch.equal(params[1], true)


def test_torch_schedules_move_the_base_optimizer() -> None:
    params = parameters()
    base = BASES["momentum"](params)
    optimizer = Optimistic(base)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    step(optimizer, params, 0)
    schedule.step()
    assert base.param_groups[0]["lr"] == 0.05
    assert base.param_groups[0] is optimizer.param_groups[0]


@each_state
def test_the_half_step_uses_the_next_learning_rate(state: Any) -> None:
    params = parameters()
    optimizer = Optimistic(BASES["sgd"](params), state=state)
    optimizer.param_groups[0]["next_lr"] = 0.0
    step(optimizer, params, 0)
    ahead = values(params)
    with optimizer.true_point():
        assert_same(values(params), ahead)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_groups_can_be_added() -> None:
    params = parameters()
    base = torch.optim.Adam(params[:1], lr=0.1)
    optimizer = Optimistic(base)
    optimizer.add_param_group({"params": params[1:], "lr": 0.01})
    step(optimizer, params, 0)
    assert [group["lr"] for group in base.param_groups] == [0.1, 0.01]
    assert all(LOOKAHEAD in optimizer.state[p] for p in params)


def test_sharding_engines_may_replace_the_parameters() -> None:
    """They hand one flat tensor per group to the optimizer and step one group at a time."""
    params = parameters(2)
    optimizer = Optimistic(torch.optim.Adam([{"params": [params[0]]}, {"params": [params[1]]}], lr=0.1))
    flat = [torch.nn.Parameter(p.detach().flatten()) for p in params]
    groups = optimizer.param_groups
    for group, tensor in zip(groups, flat, strict=True):
        group["params"] = [tensor]
    expected = [p.detach().clone().requires_grad_() for p in flat]
    whole = Optimistic(torch.optim.Adam(expected, lr=0.1))
    for number in range(4):
        step(whole, expected, number)
        for p, q in zip(flat, expected, strict=True):
            assert q.grad is not None
            p.grad = q.grad.clone()
        for group in groups:
            optimizer.param_groups = [group]
            optimizer.step()
        optimizer.param_groups = groups
    assert_same(values(flat), values(expected))


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"state": "kept"}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Optimistic(BASES["sgd"](parameters()), **options)
