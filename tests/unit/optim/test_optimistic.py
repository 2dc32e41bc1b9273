from __future__ import annotations

import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.optim import optimistic
from framework.optim.optimistic import LOOKAHEAD, Optimistic

Make = Callable[[Any], torch.optim.Optimizer]


class SignMomentum(torch.optim.Optimizer):
    """An own optimizer: state that is made lazily, a list in it, and a counter in the group."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "calls": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["calls"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                assert LOOKAHEAD not in state
                if not state:
                    state["count"] = [0]
                    state["velocity"] = torch.zeros_like(p)
                state["count"][0] += 1
                state["velocity"] = 0.9 * state["velocity"] + p.grad / state["count"][0]
                p.sub_(group["lr"] * state["velocity"].sign() * (1 + group["calls"]))


BASES: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "own": SignMomentum,
}
each_base = pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())
each_state = pytest.mark.parametrize("state", ["restored", "shared"])


def parameters(count: int = 3) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.Parameter(torch.randn(4, i + 1, generator=generator, dtype=torch.float64))
        for i in range(count)
    ]


def gradients(seed: int, like: list[Any]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in like]


def step(optimizer: torch.optim.Optimizer, params: list[Any], seed: int) -> None:
    """A step whose gradient depends on the live point, as a forward pass there would."""
    for p, noise in zip(params, gradients(seed, params), strict=True):
        p.grad = noise + 0.3 * p.detach()
    optimizer.step()


def values(params: list[Any]) -> list[Tensor]:
    return [p.detach().clone() for p in params]


def assert_same(left: list[Tensor], right: list[Tensor]) -> None:
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)


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
        monkeypatch.setitem(optimistic.CHUNK_BYTES, "cpu", chunk)
        params = parameters()
        optimizer = Optimistic(make(params), alpha, state)
        for number in range(5):
            step(optimizer, params, number)
        with optimizer.true_point():
            runs.append(values(params))
        runs.append(values(params))
    assert_same(runs[0], runs[2])
    assert_same(runs[1], runs[3])


@each_base
def test_restored_keeps_the_state_of_a_plain_run(make: Make) -> None:
    """With the same gradients, true point and moments are those of the base optimizer, whatever alpha."""
    plain_params, params = parameters(), parameters()
    plain = make(plain_params)
    optimizer = Optimistic(make(params), 0.7, "restored")
    for number in range(5):
        for p, q, gradient in zip(plain_params, params, gradients(number, params), strict=True):
            p.grad, q.grad = gradient.clone(), gradient.clone()
        plain.step()
        optimizer.step()
    with optimizer.true_point():
        assert_same(values(params), values(plain_params))
        ours = optimizer.state_dict()
    theirs = plain.state_dict()
    assert [{**group, "next_lr": None} for group in theirs["param_groups"]] == ours["param_groups"]
    for i in range(3):
        own = {key: value for key, value in ours["state"][i].items() if key != LOOKAHEAD}
        expected = theirs["state"].get(i, {})
        assert own.keys() == expected.keys()
        for key, value in own.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(expected[key])), key


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


def test_a_late_first_gradient_still_finds_an_empty_state() -> None:
    """torch's optimizers make their state when a parameter's state is empty: the copy must not be there."""
    params = parameters()
    optimizer = Optimistic(BASES["adam"](params))
    for p, gradient in zip(params, gradients(0, params), strict=True):
        p.grad = gradient
    params[2].grad = None
    optimizer.step()
    step(optimizer, params, 1)
    step(optimizer, params, 2)
    assert set(optimizer.state[params[2]]) == {"step", "exp_avg", "exp_avg_sq", LOOKAHEAD}
    assert float(optimizer.state[params[2]]["step"]) == 2


@each_base
@each_state
def test_true_point_leaves_no_trace(make: Make, state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for chunk in (0, 1, 2**20):
        monkeypatch.setitem(optimistic.CHUNK_BYTES, "cpu", chunk)
        params = parameters()
        optimizer = Optimistic(make(params), state=state)
        for number in range(4):
            step(optimizer, params, number)
            if chunk:
                ahead, pointers = values(params), [p.data_ptr() for p in params]
                with optimizer.true_point(), optimizer.true_point():
                    assert not all(torch.equal(a, p) for a, p in zip(ahead, params, strict=True))
                    assert [p.data_ptr() for p in params] == pointers
                assert_same(values(params), ahead)
        runs.append(values(params))
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_true_point_is_left_after_an_exception() -> None:
    params = parameters()
    optimizer = Optimistic(BASES["adam"](params))
    step(optimizer, params, 0)
    ahead = values(params)
    with pytest.raises(KeyError), optimizer.true_point():
        raise KeyError
    assert_same(values(params), ahead)


def resume(
    optimizer: Optimistic, params: list[Any], make: Make, state: Any, *, inside: bool, model_first: bool
) -> tuple[Optimistic, list[Any]]:
    file = io.BytesIO()
    with optimizer.true_point():
        torch.save({"model": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh_params = [torch.nn.Parameter(torch.zeros_like(p)) for p in params]
    fresh = Optimistic(make(fresh_params), 0.6, state)

    def load_model() -> None:
        with torch.no_grad():
            for p, value in zip(fresh_params, saved["model"], strict=True):
                p.copy_(value)

    def load() -> None:
        if model_first:
            load_model()
        fresh.load_state_dict(saved["optimizer"])
        if not model_first:
            load_model()

    if inside:
        with fresh.true_point():
            load()
    else:
        load()
    return fresh, fresh_params


@each_base
@each_state
@pytest.mark.parametrize(("inside", "model_first"), [(True, True), (True, False), (False, True)])
def test_a_resumed_run_is_bit_identical(make: Make, state: Any, inside: bool, model_first: bool) -> None:
    params = parameters()
    optimizer = Optimistic(make(params), 0.6, state)
    for number in range(3):
        step(optimizer, params, number)
    fresh, fresh_params = resume(optimizer, params, make, state, inside=inside, model_first=model_first)
    assert_same(values(fresh_params), values(params))
    for number in range(3, 6):
        step(optimizer, params, number)
        step(fresh, fresh_params, number)
    assert_same(values(fresh_params), values(params))
    with optimizer.true_point(), fresh.true_point():
        assert_same(values(fresh_params), values(params))


def test_loading_does_not_write_into_what_was_loaded() -> None:
    params = parameters()
    optimizer = Optimistic(BASES["sgd"](params))
    step(optimizer, params, 0)
    with optimizer.true_point():
        saved = optimizer.state_dict()
        kept = deepcopy(saved)
        fresh = Optimistic(BASES["sgd"](parameters()))
        fresh.load_state_dict(saved)
        for i in range(3):
            assert torch.equal(saved["state"][i][LOOKAHEAD], kept["state"][i][LOOKAHEAD])


def test_state_is_refused_while_the_model_is_ahead() -> None:
    params = parameters()
    optimizer = Optimistic(BASES["adam"](params))
    optimizer.state_dict()
    step(optimizer, params, 0)
    with pytest.raises(RuntimeError, match="true_point"):
        optimizer.state_dict()
    with pytest.raises(RuntimeError, match="point ahead"), optimizer.true_point():
        optimizer.step()
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)


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


@each_state
def test_memory_is_one_copy_of_the_parameters(state: Any) -> None:
    params = parameters()
    optimizer = Optimistic(BASES["adam"](params), state=state)
    step(optimizer, params, 0)
    buffers = [optimizer.state[p][LOOKAHEAD].data_ptr() for p in params]
    for number in range(1, 4):
        step(optimizer, params, number)
    assert [optimizer.state[p][LOOKAHEAD].data_ptr() for p in params] == buffers
    for p in params:
        extra = [v for k, v in optimizer.state[p].items() if k not in ("step", "exp_avg", "exp_avg_sq")]
        assert [(t.shape, t.dtype) for t in extra] == [(p.shape, p.dtype)]


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"state": "kept"}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Optimistic(BASES["sgd"](parameters()), **options)
