"""Under ZeRO-3 no rank but rank 0 ever holds the whole model, and the weights are those of one process."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("deepspeed", reason="deepspeed is not installed")

from framework.engines import deepspeed_birth
from framework.engines.base import EngineSettings
from framework.engines.deepspeed import deepspeed
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.unit.engines.test_sharded_build import LooksAtValues, Tables, Unregistered

CPU = torch.device("cpu")
WIDTH, DEPTH = 64, 8


class Deep(nn.Module):
    """Many equal layers, tied and frozen ones, one buffer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH))
        self.layers[3].weight = self.layers[2].weight
        self.layers[4].requires_grad_(False)
        self.register_buffer("scale", torch.rand(WIDTH))
        self.layers[0].register_buffer("scale", self.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = torch.tanh(layer(inputs)) * self.scale
        return inputs


MODELS = {"deep": Deep, "tables": Tables, "unregistered": Unregistered, "looks_at_values": LooksAtValues}


def make(name: str) -> nn.Module:
    torch.manual_seed(5)
    return MODELS[name]()


def sgd(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    # By dimensions, as the groups of weight decay are made.
    groups = [
        [p for _, p in named if (p.dim() >= 2) == matrix and p.requires_grad] for matrix in (True, False)
    ]
    return torch.optim.SGD([{"params": group} for group in groups], lr=0.1)


def live_bytes() -> int:
    """Memory behind all tensors of this process."""
    storages = {}
    for thing in gc.get_objects():
        if isinstance(thing, Tensor) and not thing.is_meta:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def born(names: list[str]) -> dict[str, dict[str, Any]]:
    world = World.detect()
    seen: dict[str, dict[str, Any]] = {}
    with process_group(world, 60):
        for name in names:
            seen[name] = of_one(name, world)
    return seen


def of_one(name: str, world: World) -> dict[str, Any]:
    built_on: list[str] = []
    peaks: list[int] = []

    def note() -> nn.Module:
        model = make(name)
        built_on.append(next(model.parameters()).device.type)
        return model

    parameters = deepspeed_birth._OneByOne.parameters

    def watched(self: Any, recurse: bool = True) -> Any:
        for parameter in parameters(self, recurse):
            peaks.append(live_bytes())
            yield parameter

    gc.collect()
    before = live_bytes()
    deepspeed_birth._OneByOne.parameters = watched  # type: ignore[method-assign]
    try:
        engine = deepspeed(EngineSettings(note, sgd, world, CPU), stage=3)
    finally:
        deepspeed_birth._OneByOne.parameters = parameters  # type: ignore[method-assign]
    weights = {key: tensor.numpy().copy() for key, tensor in engine.named_weights()}
    shapes = [len(group) for group in engine.groups]  # type: ignore[attr-defined]
    return {
        "built_on": built_on,
        "weights": weights,
        "groups": shapes,
        "peak": max(peaks, default=0) - before,
    }


def test_weights_are_those_of_one_process_and_no_other_rank_holds_them_all() -> None:
    first, second = run_ranks(born, 2, list(MODELS))
    for name in MODELS:
        expected = make(name)
        for key, values in expected.state_dict().items():
            for seen in (first[name], second[name]):
                assert torch.equal(torch.from_numpy(seen["weights"][key]), values), (name, key)
        trained = [p for p in expected.parameters() if p.requires_grad]
        num_matrices = sum(p.dim() >= 2 for p in trained)
        assert first[name]["groups"] == [num_matrices, len(trained) - num_matrices]
    for name in ("deep", "tables"):
        assert first[name]["built_on"] == ["cpu", "meta"]
        assert second[name]["built_on"] == ["meta"]
    for name in ("unregistered", "looks_at_values"):
        assert "cpu" in second[name]["built_on"]

    sizes = [parameter.nbytes for parameter in make("deep").parameters()]
    share, largest = sum(sizes) / 2, max(sizes)
    assert share < second["deep"]["peak"] <= 1.05 * (share + largest)
    assert second["deep"]["peak"] < 0.75 * sum(sizes) < sum(sizes) < first["deep"]["peak"]
