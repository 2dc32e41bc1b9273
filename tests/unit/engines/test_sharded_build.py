"""Models that are born sharded, and which of their parts are sharded as one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.engines.base import EngineSettings
from framework.engines.fsdp import fsdp
from framework.engines.sharded.build import blocks
from framework.errors import CheckpointError
from framework.models.mlp import mlp
from framework.models.resnet import resnet
from framework.models.vit import vit
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.whole import whole_state

IMAGES = DataSpec((1, 8, 8), num_classes=10)


class Tables(nn.Module):
    """Persistent and other buffers, tied parameters, and rows that do not divide by two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(5, 7)
        self.second.weight = self.first.weight
        self.register_buffer("kept", torch.rand(3))
        self.register_buffer("derived", torch.arange(4.0) ** 2, persistent=False)
        self.single_row = nn.Parameter(torch.rand(1, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.first(inputs) + self.second(inputs)
        return hidden + self.kept.sum() + self.derived.sum() + self.single_row.sum()


class Unregistered(Tables):
    """A tensor that no one can find on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.rand(7)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * self.scale


class LooksAtValues(Tables):
    """Its construction fails on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(self.kept.sum())

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * self.factor


MODELS = {
    "mlp": (lambda: mlp(IMAGES, hidden=[9, 8], norm="batch"), (4, 1, 8, 8)),
    "vit": (lambda: vit(IMAGES, patch_size=4, hidden_size=16, layers=2, heads=2), (4, 1, 8, 8)),
    "tables": (Tables, (4, 5)),
    "unregistered": (Unregistered, (4, 5)),
    "looks_at_values": (LooksAtValues, (4, 5)),
}


def make(name: str) -> nn.Module:
    torch.manual_seed(3)
    model: nn.Module = MODELS[name][0]()
    return model


def sgd(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for _, parameter in named], lr=0.1)


def born(names: list[str]) -> dict[str, dict[str, Any]]:
    world = World.detect()
    seen: dict[str, dict[str, Any]] = {}
    with process_group(world, 60):
        for name in names:
            built_on = []

            def note(name: str = name, built_on: list[str] = built_on) -> nn.Module:
                model = make(name)
                built_on.append(next(model.parameters()).device.type)
                return model

            engine = fsdp(EngineSettings(note, sgd, world, torch.device("cpu")))
            weights = {key: tensor.numpy() for key, tensor in engine.named_weights()}
            inputs = torch.ones(MODELS[name][1])
            with engine.evaluation_weights(), torch.no_grad():
                outputs = engine.forward(inputs).numpy()
            own = sum(p.to_local().numel() for p in engine.model.parameters())  # type: ignore[attr-defined]
            seen[name] = {"weights": weights, "outputs": outputs, "built_on": built_on, "own": own}
    return seen


def test_every_rank_is_born_with_its_share_of_the_weights_of_one_process() -> None:
    first, second = run_ranks(born, 2, list(MODELS))
    for name, (_, shape) in MODELS.items():
        expected = make(name)
        for seen in (first[name], second[name]):
            assert seen["weights"].keys() == expected.state_dict().keys()
            for key, values in expected.state_dict().items():
                assert torch.equal(torch.from_numpy(seen["weights"][key]), values), (name, key)
            with torch.no_grad():
                outputs = expected.eval()(torch.ones(shape))
            torch.testing.assert_close(torch.from_numpy(seen["outputs"]), outputs, rtol=1e-6, atol=1e-5)
        whole = sum(parameter.numel() for parameter in expected.parameters())
        assert first[name]["own"] + second[name]["own"] == whole
        assert 0.4 * whole < first[name]["own"] < 0.65 * whole
    for name in ("mlp", "vit", "tables"):
        assert first[name]["built_on"] == ["cpu", "meta"]
        assert second[name]["built_on"] == ["meta"]


def test_repeated_parts_are_sharded_alone() -> None:
    names = [type(block).__name__ for block in blocks(make("vit"))]
    assert names == ["ViTLayer", "ViTLayer"]
    assert [type(block).__name__ for block in blocks(make("mlp"))] == ["Linear"] * 3
    small = [type(block).__name__ for block in blocks(resnet(IMAGES, width=4))]
    assert small == ["Conv2d", *["Block"] * 9, "Linear"]


def test_a_part_that_shares_parameters_stays_with_the_model() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    assert blocks(tied) == [tied[1]]
    same = nn.Linear(4, 4)
    assert blocks(nn.Sequential(same, nn.ReLU(), same)) == []


@pytest.mark.parametrize("bad", ["model", "optimizer", "shape"])
def test_another_models_state_is_refused(bad: str) -> None:
    engine = fsdp(EngineSettings(lambda: make("tables"), sgd, World(), torch.device("cpu")))
    state = whole_state(engine)
    if bad == "model":
        state["model"]["third"] = torch.zeros(2)
    elif bad == "shape":
        state["model"]["kept"] = torch.zeros(2)
    else:
        state["optimizer"]["state"]["third"] = {}
    with pytest.raises(CheckpointError, match=r"third|kept has shape \(2,\) there, \(3,\) here"):
        engine.load_state_dict(state)
