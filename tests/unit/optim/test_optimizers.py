import inspect
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from framework.errors import ConfigError
from framework.optim.optimizers import can_fuse
from framework.optim.param_groups import split_decay
from framework.registry import registry

CLASSES = sorted(
    name
    for name, member in inspect.getmembers(torch.optim, inspect.isclass)
    if issubclass(member, torch.optim.Optimizer) and name not in {"Optimizer", "LBFGS", "SparseAdam"}
)


def build(name: str, parameters: Any, **options: Any) -> torch.optim.Optimizer:
    component = registry.get("optimizer", name)
    optimizer: torch.optim.Optimizer = component.build(
        component.model(name=name, **options), parameters=parameters
    )
    return optimizer


def walk(optimizer: torch.optim.Optimizer, weight: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """`steps` steps down the gradient sin(w + step)."""
    for step in range(steps):
        weight.grad = torch.sin(weight.detach() + step)
        optimizer.step()
    return weight.detach()


def reference(name: str, weight: np.ndarray, lr: float, decay: float) -> np.ndarray:
    """The textbook updates in float64, five steps."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(5):
        gradient = np.sin(weight + step)
        if name == "adamw":
            weight = weight * (1 - lr * decay)
        else:
            gradient = gradient + decay * weight
        if name == "sgd":
            first = gradient if step == 0 else 0.9 * first + gradient
            weight = weight - lr * first
        elif name == "adagrad":
            second = second + gradient**2
            weight = weight - lr * gradient / (np.sqrt(second) + 1e-10)
        else:
            first = 0.8 * first + 0.2 * gradient
            second = 0.95 * second + 0.05 * gradient**2
            unbiased = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
            weight = weight - lr * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return weight


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_own_optimizers_follow_the_textbook_in_float64(name: str, decay: float) -> None:
    start = torch.linspace(-2, 2, 6, dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    options: dict[str, Any] = {"sgd": {"momentum": 0.9}, "adagrad": {}}.get(name, {"betas": [0.8, 0.95]})
    optimizer = build(name, [weight], lr=0.05, weight_decay=decay, **options)
    assert optimizer.defaults["fused"] is True
    expected = reference(name, start.numpy(), 0.05, decay)
    np.testing.assert_allclose(walk(optimizer, weight).numpy(), expected, rtol=1e-12)


def test_fusing_needs_floating_parameters_on_a_device_with_the_kernel() -> None:
    plain = nn.Parameter(torch.zeros(2))
    assert can_fuse([plain])
    assert can_fuse([{"params": [plain]}])
    assert not can_fuse([{"params": [plain]}, {"params": [nn.Parameter(torch.zeros(2, device="meta"))]}])
    assert not can_fuse([nn.Parameter(torch.zeros(2, dtype=torch.complex64))])


def test_own_options_are_checked() -> None:
    weight = nn.Parameter(torch.zeros(2))
    for options in ({"lr": -1}, {"lr": 0}, {"betas": [0.9, 1.0]}, {"weight_decay": -0.1}, {"learning": 1}):
        with pytest.raises(ValidationError):
            build("adamw", [weight], **options)
    with pytest.raises(ConfigError, match="Nesterov momentum requires a momentum"):
        build("sgd", [weight], nesterov=True)


def test_torch_has_the_classes_we_know() -> None:
    assert {"ASGD", "Adadelta", "Adafactor", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"} <= set(CLASSES)
    assert set(CLASSES) <= set(registry.names("optimizer"))
    assert not {"LBFGS", "SparseAdam", "Optimizer"} & set(registry.names("optimizer"))


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_torch_is_an_optimizer_by_its_own_name(name: str) -> None:
    start = torch.linspace(-2, 2, 6).reshape(2, 3)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    moved = walk(build(name, [mine]), mine)
    assert not torch.equal(moved, start)
    assert torch.equal(moved, walk(getattr(torch.optim, name)([theirs]), theirs))


def test_options_of_torchs_classes_are_typed_and_reach_them() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = build("RMSprop", [weight], lr=0.5, alpha=0.25, centered=True)
    assert (optimizer.defaults["lr"], optimizer.defaults["alpha"]) == (0.5, 0.25)
    assert optimizer.defaults["centered"] is True
    assert build("Adafactor", [weight], eps=[None, 0.1]).defaults["eps"] == (None, 0.1)
    fields = registry.get("optimizer", "Adam").model.model_fields
    assert fields["betas"].annotation == tuple[float, float]
    assert not {"maximize", "capturable", "differentiable", "params"} & set(fields)
    for options in ({"lr": "fast"}, {"alpha": [1]}, {"momentun": 0.1}):
        with pytest.raises(ValidationError):
            build("RMSprop", [weight], **options)
    with pytest.raises(ConfigError, match="optimizer RMSprop: Invalid learning rate"):
        build("RMSprop", [weight], lr=-1)


def test_split_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    (everything,) = split_decay(model.named_parameters(), "all")
    assert [id(p) for p in everything["params"]] == [id(p) for p in model.parameters() if p.requires_grad]
    matrices, vectors = split_decay(model.named_parameters(), "matrices")
    assert [id(p) for p in matrices["params"]] == [id(model[0].weight)]
    assert [tuple(p.shape) for p in vectors["params"]] == [(4,), (4,), (4,), (2,)]
    assert vectors["weight_decay"] == 0
    assert "weight_decay" not in matrices


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "RMSprop"])
def test_vectors_do_not_decay(name: str) -> None:
    layer = nn.Linear(3, 4)
    nn.init.ones_(layer.bias)
    before = layer.weight.detach().clone()
    optimizer = build(name, split_decay(layer.named_parameters(), "matrices"), lr=0.1, weight_decay=0.5)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(layer.bias, torch.ones(4))
    assert not torch.equal(layer.weight, before)


def test_split_decay_leaves_no_empty_group() -> None:
    assert len(split_decay(nn.Linear(3, 4, bias=False).named_parameters(), "matrices")) == 1
