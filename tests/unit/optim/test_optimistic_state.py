"""What it keeps: the true point, the state of the base optimizer, one copy of the parameters."""

from __future__ import annotations

import io
from copy import deepcopy
from typing import Any

import pytest
import torch

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
        monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", chunk)
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
