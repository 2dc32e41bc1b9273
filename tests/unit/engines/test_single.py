"""The engine of one process: precision, compilation, state by name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from framework.engines import optimizer_state
from framework.errors import CheckpointError
from framework.training.assemble import Run
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.tiny import assembled

QUIET = ["evaluate.every_epochs=null", "checkpoint.every_epochs=null"]


def trained(folder: Path, *overrides: str, steps: int = 4) -> Run:
    run = assembled(folder, [*QUIET, *overrides])
    with StopSignal() as signals:
        for _ in range(steps):
            advance(run, signals)
    return run


def test_bf16_computes_in_bf16_and_keeps_weights_and_losses(tmp_path: Path) -> None:
    run = trained(tmp_path, "engine.precision=bf16")
    seen: list[torch.dtype] = []
    hook = run.engine.model[-1].register_forward_hook(lambda *args: seen.append(args[2].dtype))  # type: ignore[index,operator]
    batch = next(run.loader)
    outputs = run.engine.forward(batch.micros[0].inputs)
    hook.remove()
    assert seen == [torch.bfloat16]
    assert outputs.dtype == torch.float32
    assert {weight.dtype for _, weight in run.engine.named_weights()} == {torch.float32}
    exact = trained(tmp_path)
    pairs = zip(run.engine.named_weights(), exact.engine.named_weights(), strict=True)
    assert max(float((a - b).abs().max()) for (_, a), (_, b) in pairs) > 1e-6


def test_a_look_leaves_no_trace(tmp_path: Path) -> None:
    run = trained(tmp_path, "model.norm=batch", "model.dropout=0.5")
    before = {name: tensor.clone() for name, tensor in run.engine.named_weights()}
    generator = torch.get_rng_state()
    batch = next(run.loader)
    with run.engine.preserved_state():
        run.engine.forward(batch.micros[0].inputs)
    with suppress(ZeroDivisionError), run.engine.preserved_state():
        run.engine.forward(batch.micros[0].inputs)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), generator)
    for name, tensor in run.engine.named_weights():
        assert torch.equal(tensor, before[name]), name
    run.engine.forward(batch.micros[0].inputs)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in run.engine.named_weights())


def test_evaluation_weights_are_the_average_of_the_true_points(tmp_path: Path) -> None:
    run = trained(tmp_path, "policy=also", "train.ema={decay: 0.9}", "optimizer=adam")
    ahead = {name: tensor.clone() for name, tensor in run.engine.named_weights()}
    with run.engine.true_point():
        true = {name: tensor.clone() for name, tensor in run.engine.named_weights()}
    with suppress(ZeroDivisionError), run.engine.evaluation_weights():
        judged = {name: tensor.clone() for name, tensor in run.engine.named_weights()}
        assert not run.engine.model.training
        raise ZeroDivisionError
    assert run.engine.model.training
    for name, tensor in run.engine.named_weights():
        assert torch.equal(tensor, ahead[name])
        assert not torch.equal(tensor, true[name])
        assert not torch.equal(judged[name], true[name])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adagrad"])
def test_optimizer_state_goes_by_name(optimizer: str, tmp_path: Path) -> None:
    options = [f"optimizer={optimizer}", "train.weight_decay_on=matrices", "policy=also"]
    source, target = trained(tmp_path, *options), trained(tmp_path, *options, "seed=5", steps=2)
    with source.engine.true_point(), target.engine.true_point():
        target.engine.load_state_dict(source.engine.state_dict())
        state, other = source.engine.state_dict()["optimizer"], target.engine.state_dict()["optimizer"]
    assert state["groups"] == other["groups"]
    assert {name for group in state["groups"] for name in group["parameters"]} == set(state["state"])
    for name, values in state["state"].items():
        for key, value in values.items():
            same = torch.equal(value, other["state"][name][key]) if torch.is_tensor(value) else True
            assert same, (name, key)


def test_optimizer_state_of_another_run_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path)
    names = {id(parameter): name for name, parameter in run.engine.model.named_parameters()}
    state = optimizer_state.by_name(run.engine.optimizer, names)
    for change, message in (
        ({"groups": state["groups"] * 2}, "other parameter groups"),
        ({"groups": [{**state["groups"][0], "betas": [0, 1]}]}, r"differs in \['betas'\]"),
        ({"state": {**state["state"], "9.weight": {}}}, r"unknown parameters \['9.weight'\]"),
    ):
        with pytest.raises(CheckpointError, match=message):
            optimizer_state.load_by_name(run.engine.optimizer, names, {**state, **change})


@pytest.mark.slow
def test_compiled_is_the_same_training(tmp_path: Path) -> None:
    options = ["policy=also", "train.ema={decay: 0.9}", "batch.size=128"]
    plain, compiled = (trained(tmp_path, *options, *more, steps=5) for more in ((), ("engine.compile=true",)))
    with plain.engine.evaluation_weights(), compiled.engine.evaluation_weights():
        weights = dict(plain.engine.named_weights())
        for name, weight in compiled.engine.named_weights():
            torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-5)
