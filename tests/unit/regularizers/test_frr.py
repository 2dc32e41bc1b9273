"""FRR against its objective written out in float64."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from framework.errors import ConfigError
from tests.tiny import assembled

OPTIONS = ["evaluate.every_epochs=null", "checkpoint.every_epochs=null", "optimizer.momentum=0.0"]


@pytest.mark.parametrize(("norm", "order"), [("l1", 1.0), ("l2", 2.0), ("max", float("inf"))])
def test_it_is_the_objective_written_out_in_float64(norm: str, order: float, tmp_path: Path) -> None:
    run = assembled(tmp_path, [*OPTIONS, f"regularizers=[{{name: frr, penalty: 0.05, norm: {norm}}}]"])
    model = copy.deepcopy(run.engine.model).double()
    assert isinstance(model, nn.Sequential)
    head = model[-1]
    assert isinstance(head, nn.Linear)
    linear = head.get_submodule("feature_reconstruction.linear")
    assert isinstance(linear, nn.Linear)
    before = linear.weight.detach().clone()
    for _ in range(6):
        batch = next(run.loader)
        micro = batch.micros[0]
        assert isinstance(micro.inputs, torch.Tensor)
        features = model[:-1](micro.inputs.double())
        logits = F.linear(features, head.weight, head.bias)
        apart = F.linear(logits, linear.weight, linear.bias) - features
        penalty = 0.05 * torch.linalg.vector_norm(apart, order, dim=1).mean()
        objective = F.cross_entropy(logits, micro.targets) + penalty
        gradients = torch.autograd.grad(objective, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
        result = run.step(batch)
        assert float(result.penalty) == pytest.approx(float(penalty.detach()), rel=1e-5)
    for found, expected in zip(run.engine.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=0, atol=2e-6)
    assert not torch.equal(linear.weight, before)
    with run.engine.evaluation_weights():
        assert run.engine.forward(micro.inputs).shape[1] == 10


def test_beside_another_regularizer_in_any_order(tmp_path: Path) -> None:
    frr, irm = "{name: frr, penalty: 0.1}", "{name: irm, penalty: 5, anneal_steps: 0}"
    penalties = []
    for both in (f"[{frr}, {irm}]", f"[{irm}, {frr}]"):
        run = assembled(tmp_path, [*OPTIONS, f"regularizers={both}", "batch.micro=8"])
        penalties.append(float(run.step(next(run.loader)).penalty))
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-6)


def test_a_model_that_it_cannot_work_with_is_refused(tmp_path: Path) -> None:
    for options in (["model.head=cosine"], ["regularizers=[{name: frr}, {name: frr}]"]):
        with pytest.raises(ConfigError, match=r"regularizers\.[01]"):
            assembled(tmp_path, ["regularizers=[{name: frr}]", *options])
