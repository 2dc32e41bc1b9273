"""Engine auto: what a model needs is found without building it, and the least sharding that fits is taken."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from framework.engines import fit
from framework.engines.auto import auto
from framework.engines.base import EngineSettings
from framework.engines.fit import SHARE, Sizes, choose, sizes_of, ways
from framework.optim.optimistic import Optimistic
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from tests.distributed import run_ranks

CPU = torch.device("cpu")
LAYER = 4 * (64 * 64 + 64)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))
    model[0].requires_grad_(False)
    return model


def adam(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.Adam([parameter for _, parameter in named])


def settings(optimizer: Any = adam, world: World | None = None, ema: float | None = None) -> EngineSettings:
    return EngineSettings(make_model, optimizer, world or World(), CPU, ema)


@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [
        (adam, 2),
        (lambda named: torch.optim.SGD([p for _, p in named], lr=0.1), 0),
        (lambda named: torch.optim.SGD([p for _, p in named], lr=0.1, momentum=0.9), 1),
        (lambda named: Optimistic(adam(named)), 3),
    ],
)
def test_what_the_optimizer_keeps_is_found_by_trying(optimizer: Any, copies: int) -> None:
    assert sizes_of(settings(optimizer, ema=0.9), None) == Sizes(
        6 * LAYER, 5 * LAYER, copies * 5 * LAYER, 6 * LAYER, LAYER
    )
    # The same as after a real step.
    model = make_model()
    real = optimizer(list(model.named_parameters()))
    model(torch.ones(2, 64)).sum().backward()
    real.step()
    kept = [value for state in real.state.values() for value in state.values() if value.dim()]
    assert sum(value.nbytes for value in kept) == copies * 5 * LAYER


def test_an_optimizer_that_cannot_be_tried_counts_as_adam() -> None:
    def fused(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return torch.optim.Adam([parameter for _, parameter in named], fused=True)

    sizes = sizes_of(settings(fused), torch.bfloat16)
    assert sizes is not None
    assert (sizes.optimizer, sizes.cast) == (10 * LAYER, 0.5)


def test_what_each_way_needs() -> None:
    sizes = Sizes(parameters=400, gradients=400, optimizer=800, average=0, block=40)
    whole = {way.name: way.needed for way in ways(sizes, 4, host_is_device=False)}
    assert whole == {
        "ddp": 1600,
        "fsdp without resharding": 400 + 400,
        "fsdp": 400 + 120,
        "fsdp with cpu_offload": 120,
    }
    half = Sizes(parameters=400, gradients=400, optimizer=800, average=0, block=40, cast=0.5)
    assert [way.needed for way in ways(half, 4, host_is_device=True)] == [1800, 600, 460]


def test_the_first_that_fits_is_taken_and_explained() -> None:
    gigabytes = Sizes(*(round(x * fit.GB) for x in (4, 4, 8, 0, 0.4)))
    candidates = ways(gigabytes, 4, host_is_device=False)
    for memory, name in (
        (27, "ddp"),
        (26, "fsdp without resharding"),
        (10, "fsdp"),
        (8, "fsdp with cpu_offload"),
    ):
        way, reason = choose(candidates, memory * fit.GB)
        assert way.name == name
        assert reason.startswith(f"engine auto takes {name}: {way.needed / fit.GB:.3g} GB per process")
    assert "fits into 4.8 GB (60% of the 8 GB that are free); ddp would need 16 GB; fsdp with" in reason
    way, reason = choose(candidates, fit.GB)
    assert way.name == "fsdp with cpu_offload"
    assert "is the least there is, and more than 0.6 GB" in reason


def test_processes_on_one_machine_share_its_memory() -> None:
    whole = fit.free_memory(CPU, {})
    part = fit.free_memory(CPU, {"LOCAL_WORLD_SIZE": "4"})
    if whole is None or part is None:
        pytest.skip("this system does not say how much memory is free")
    assert part == pytest.approx(whole / 4, rel=0.1)


def chosen(memories: dict[str, list[float]]) -> dict[str, tuple[str, list[str]]]:
    world = World.detect()
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("framework.engines")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    found = {}
    with process_group(world, 60):
        for name, memory in memories.items():
            fit.free_memory = lambda device, own=memory[world.rank]: own  # type: ignore[assignment,misc]
            told.clear()
            engine = auto(settings(world=world))
            found[name] = (type(engine).__name__, list(told))
    return found


def test_ranks_agree_on_the_least_memory() -> None:
    states = (6 + 5 + 10) * LAYER / SHARE
    memories = {"enough": [1.01 * states, 9 * states], "not on the second": [9 * states, 0.99 * states]}
    first, second = run_ranks(chosen, 2, memories)
    assert first == second
    assert first["enough"][0] == "DdpEngine"
    assert first["not on the second"][0] == "FsdpEngine"
    assert [len(told) for _, told in first.values()] == [1, 1]
    assert "engine auto takes fsdp without resharding" in first["not on the second"][1][0]
