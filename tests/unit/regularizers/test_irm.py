"""IRMv1 against a penalty written out with autograd on one batch, and on any split of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.data.batch import Batch
from framework.errors import ConfigError
from framework.training.assemble import Run
from tests.tiny import assembled

QUIET = ["evaluate.every_epochs=null", "checkpoint.every_epochs=null"]
PLAIN_SGD = "optimizer.momentum=0.0"
BALANCED = "policy={name: vrex, penalty: 0, anneal_steps: 0}"


def irm(**options: object) -> str:
    return f"regularizers=[{{name: irm, {', '.join(f'{key}: {value}' for key, value in options.items())}}}]"


def written_out(model: torch.nn.Module, batch: Batch, factor: float, estimator: str) -> Tensor:
    """DomainBed's objective: mean over environments of risk and of factor x the squared gradient."""
    assert isinstance(batch.inputs, Tensor)
    outputs = model(batch.inputs.double())
    risks, penalties = [], []
    for environment in sorted(set(batch.groups.tolist())):
        logits, targets = outputs[batch.groups == environment], batch.targets[batch.groups == environment]
        scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        risks.append(F.cross_entropy(logits, targets))
        parts = (
            (slice(None), slice(None)) if estimator == "square" else (slice(0, None, 2), slice(1, None, 2))
        )
        product = torch.tensor(1.0, dtype=torch.float64)
        for part in parts:
            if len(targets[part]) == 0:
                product = product * 0.0
                continue
            risk = F.cross_entropy(logits[part] * scale, targets[part])
            product = product * torch.autograd.grad(risk, scale, create_graph=True)[0]
        penalties.append(product)
    return torch.stack(risks).mean() + factor * torch.stack(penalties).mean()


@pytest.mark.parametrize("estimator", ["halves", "square"])
def test_it_is_the_objective_written_out_in_float64(estimator: str, tmp_path: Path) -> None:
    run = assembled(
        tmp_path,
        [
            *QUIET,
            PLAIN_SGD,
            BALANCED,
            irm(penalty=5, anneal_steps=3, anneal_penalty=0.5, estimator=estimator),
        ],
    )
    model = copy.deepcopy(run.engine.model).double()
    for step in range(8):
        batch = next(run.loader)
        objective = written_out(model, batch.micros[0], 0.5 if step < 3 else 5.0, estimator)
        gradients = torch.autograd.grad(objective, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
        result = run.step(batch)
        assert result.taken
        assert float(result.objective) == pytest.approx(float(objective.detach()), abs=2e-5)
        assert float(result.penalty) != 0.0
    for found, expected in zip(run.engine.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=0, atol=2e-6)


def trained(folder: Path, overrides: list[str]) -> Run:
    run = assembled(folder, [*QUIET, "train.clip_norm=1.0", *overrides])
    for _ in range(8):
        run.step(next(run.loader))
    return run


def largest_difference(one: Run, other: Run) -> float:
    pairs = zip(one.engine.named_weights(), other.engine.named_weights(), strict=True)
    return max(float((a - b).abs().max()) for (_, a), (_, b) in pairs)


@pytest.mark.parametrize("more", [["policy=erm"], ["policy=also", "train.sam={rho: 0.1}"]])
def test_any_split_gives_the_same_parameters(more: list[str], tmp_path: Path) -> None:
    options = [*more, irm(penalty=5, anneal_steps=2)]
    whole = trained(tmp_path, options)
    assert largest_difference(whole, trained(tmp_path, [*options, "batch.micro=8"])) <= 2e-6
    assert largest_difference(whole, trained(tmp_path, more)) > 1e-3


def test_no_penalty_is_none(tmp_path: Path) -> None:
    for options in (["policy=erm"], ["policy=group_dro", "batch.micro=8", "batch.accumulation=per_micro"]):
        none = trained(tmp_path, [*options, irm(penalty=0, anneal_penalty=0)])
        assert largest_difference(trained(tmp_path, options), none) <= 2e-6


def test_a_regression_has_the_penalty_of_its_own_loss(tmp_path: Path) -> None:
    regression = [
        *QUIET,
        "data=diabetes",
        "task=regression",
        irm(anneal_steps=0, penalty=1, estimator="square"),
    ]
    run = assembled(tmp_path, regression)
    batch = next(run.loader).micros[0]
    assert isinstance(batch.inputs, Tensor)
    outputs = run.engine.model(batch.inputs)
    scale = torch.ones((), requires_grad=True)
    expected = []
    for group in sorted(set(batch.groups.tolist())):
        mine = batch.groups == group
        losses = run.task.losses(outputs * scale, batch)[mine]
        expected.append(torch.autograd.grad(losses.mean(), scale, retain_graph=True)[0].square())
    result = run.step(next(assembled(tmp_path, regression).loader))
    assert float(result.penalty) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)


def test_it_needs_groups(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"regularizers\.0.*irm needs groups"):
        assembled(tmp_path, ["data.groups=[]", irm(penalty=1)])
