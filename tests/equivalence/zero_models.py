"""A model with what is no plain parameter: frozen and tied ones, buffers, one of a single element."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from framework.engines.base import Engine, EngineSettings
from framework.engines.deepspeed import deepspeed
from framework.engines.single import SingleEngine
from framework.optim.optimistic import Optimistic
from framework.optim.optimizers import adamw
from framework.optim.param_groups import split_decay
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.whole import whole_state

LAYOUTS: list[dict[str, Any]] = [
    {"stage": 0},
    {"stage": 1},
    {"stage": 2},
    {"stage": 3},
    {"stage": 2, "offload_optimizer": True},
    {"stage": 3, "offload_optimizer": True, "offload_parameters": True},
]


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(7, 5).requires_grad_(False)
        self.one, self.two = nn.Linear(5, 5), nn.Linear(5, 5)
        self.two.weight = self.one.weight
        self.norm = nn.BatchNorm1d(5)
        self.scale = nn.Parameter(torch.ones(1))
        self.out = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.two(torch.relu(self.one(self.frozen(inputs))))
        outputs: Tensor = self.out(self.norm(hidden) * self.scale)
        return outputs


def settings(world: World) -> EngineSettings:
    def make_model() -> nn.Module:
        torch.manual_seed(3)
        return Odd()

    def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return Optimistic(adamw(split_decay(named, "matrices"), lr=0.01))

    return EngineSettings(make_model, make_optimizer, world, torch.device("cpu"), 0.9)


def trained(engine: Engine) -> dict[str, Any]:
    """Four steps on batches of 8; the statistics of the normalisation layer stay as they are."""
    generator = torch.Generator().manual_seed(0)
    rows = 8 // engine.world.size
    own = slice(engine.world.rank * rows, (engine.world.rank + 1) * rows)
    engine.model.norm.eval()  # type: ignore[operator, union-attr]
    for _ in range(4):
        inputs = torch.randn(8, 7, generator=generator)[own]
        labels = torch.randint(0, 3, (8,), generator=generator)[own]
        engine.zero_grad()
        engine.announce(last=True)
        losses = nn.functional.cross_entropy(engine.forward(inputs), labels, reduction="none")
        engine.backward(losses, torch.full_like(losses, 1 / 8))
        engine.clip(0.8)
        engine.step()
    return state_of(engine)


def state_of(engine: Engine) -> dict[str, Any]:
    with engine.true_point():
        return whole_state(engine)


def moved(state: dict[str, Any]) -> dict[str, Any]:
    """The state with other frozen weights and buffers than a new model has."""
    other = copy.deepcopy(state)
    for name in [name for name in state["model"] if name.startswith(("frozen", "norm.running"))]:
        other["model"][name] += 1
        if name in other["ema"]:
            other["ema"][name] += 1
    return other


def differences(here: Any, there: Any, place: str = "") -> dict[str, float]:
    """Largest difference of each tensor of two states; other values must be equal."""
    if isinstance(here, dict):
        assert here.keys() == there.keys(), place
        parts = [differences(here[key], there[key], f"{place}/{key}") for key in here]
        return {name: value for part in parts for name, value in part.items()}
    if isinstance(here, Tensor):
        assert (here.shape, here.dtype) == (there.shape, there.dtype), place
        return {place: float((here - there).abs().max())}
    assert here == there, place
    return {}


def odd_models() -> list[tuple[float, float]]:
    """For each layout: how far its state is from that of one process, and from one that it has loaded."""
    world = World.detect()
    found = []
    with process_group(world, 60):
        reference = trained(SingleEngine(settings(World())))
        other = moved(reference)
        for layout in LAYOUTS:
            state = trained(deepspeed(settings(world), **layout))
            engine = deepspeed(settings(world), **layout)
            with engine.true_point():
                engine.load_state_dict(other)
            loaded = state_of(engine)
            if world.is_main:
                apart = differences(reference, state), differences(other, loaded)
                found.append((max(apart[0].values()), max(apart[1].values())))
    return found
