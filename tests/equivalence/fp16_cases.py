"""What the tests of the loss scale do on each rank."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from framework.checkpoint.tree import flatten
from framework.engines.base import EngineSettings
from framework.engines.precision import CAST
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.registry import registry
from framework.training.assemble import Run
from tests.equivalence.zero_cases import MOMENTUM, RICH, advanced, built, walked
from tests.whole import whole_state

#: doubles in the middle of a run, and from a scale that no run of fp16 could begin with
GROWING = "engine.loss_scale={initial: 1048576, growth_interval: 3}"
#: an average, a point ahead and two groups; then accumulations with a clip that binds in some steps
OPTIONS = {
    "rich": RICH,
    "exact": [*MOMENTUM, "policy=group_dro", "batch.micro=10", "train.clip_norm=0.7"],
    "per_micro": [
        *MOMENTUM,
        "policy=group_dro",
        "batch.micro=10",
        "batch.accumulation=per_micro",
        "train.clip_norm=0.7",
    ],
}
#: what costs most is tried with one engine of a kind
WITH = {"rich": ["ddp", "fsdp", "zero3"], "per_micro": ["ddp"], "mutated": ["ddp", "zero1"]}
Arrays = dict[str, np.ndarray]


def everything(run: Run) -> Arrays:
    """The engine's state, whole, and the policy's."""
    with run.engine.true_point():
        state = {"engine": whole_state(run.engine), "policy": run.policy.state_dict()}
        return {name: tensor.numpy().copy() for name, tensor in flatten(state, copy=True).tensors.items()}


def arrived(
    overrides: list[str], world: World, mutate: Callable[[Run], None] | None = None
) -> tuple[Arrays, list[float]]:
    """Where five steps lead, and the norms of their gradients."""
    run = built(overrides, world)
    if mutate is not None:
        mutate(run)
    norms = []
    for step in range(5):
        advanced(run, step + 1)
        assert run.last is not None
        norms.append(float(run.last.gradient_norm))
    return everything(run), norms


def forgets_to_unscale(run: Run) -> None:
    run.engine.unscale = lambda gradients: None  # type: ignore[attr-defined]


def forgets_to_tell_deepspeed(run: Run) -> None:
    run.engine._loss_scale_told = torch.no_grad  # type: ignore[attr-defined]


def cancelled(engines: list[str]) -> dict[str, dict[str, list[str]]]:
    """For each engine and set of options, what differs between a scaled run and one without a scale.

    Both compute in fp32, in which powers of two cancel.
    """
    world = World.detect()
    cast: dict[Any, Any] = CAST
    cast["fp16"] = None
    found: dict[str, dict[str, list[str]]] = {}
    with process_group(world, 60):
        for engine in engines:
            zero = engine in ("zero1", "zero2", "zero3")
            wrong = forgets_to_tell_deepspeed if zero else forgets_to_unscale
            of_engine = found.setdefault(engine, {})
            for name, options in OPTIONS.items():
                if engine not in WITH.get(name, engines):
                    continue
                plain = arrived([*options, f"engine={engine}"], world)
                scaled = [*options, f"engine={engine}", "engine.precision=fp16", GROWING]
                of_engine[name] = differing(plain, arrived(scaled, world))
                if name == "exact" and engine in WITH["mutated"]:
                    of_engine["mutated"] = differing(plain, arrived(scaled, world, wrong))
    return found


def differing(plain: tuple[Arrays, list[float]], scaled: tuple[Arrays, list[float]]) -> list[str]:
    names = [name for name in plain[0] if not np.array_equal(plain[0][name], scaled[0][name])]
    return names + ([] if plain[1] == scaled[1] else ["norms"])


Seen = dict[str, Any]


def overflowed(engines: list[str]) -> dict[str, Seen]:
    """A step of fp16 whose gradient is infinite on the last rank alone, between good ones."""
    world = World.detect()
    found = {}
    with process_group(world, 60):
        for engine in engines:
            options = [*RICH, f"engine={engine}", "engine.precision=fp16", "train.max_skipped=0"]
            run = built([*options, "engine.loss_scale.initial=256"], world)
            advanced(run, 2)
            before = everything(run)
            forward = run.engine.forward

            def spoiled(inputs: Any, forward: Callable[[Any], Tensor] = forward) -> Tensor:
                outputs = forward(inputs)
                if outputs.requires_grad and world.rank == world.size - 1:
                    outputs.register_hook(lambda gradient: gradient * torch.inf)
                return outputs

            run.engine.forward = spoiled  # type: ignore[method-assign]
            advanced(run, 3)
            run.engine.forward = forward  # type: ignore[method-assign]
            after = everything(run)
            assert run.last is not None
            assert run.engine.loss_scale is not None
            taken, scale = run.last.taken, run.engine.loss_scale.scale
            advanced(run, 4)
            found[engine] = {
                "moved": [name for name in before if not np.array_equal(before[name], after[name])],
                "skipped": not taken,
                "scale": scale,
                "counted": run.progress.skipped,
                "goes on": run.last.taken,
            }
    return found


def resumed(engines: list[str], folder: Path) -> None:
    """Six steps of fp16 in one piece, and in two."""
    world = World.detect()
    with process_group(world, 60):
        for engine in engines:
            own = [
                *RICH,
                f"engine={engine}",
                "engine.precision=fp16",
                "engine.loss_scale={initial: 1024, growth_interval: 4}",
            ]
            walked(own, folder / engine / "whole", None, 6, world)
            half = walked(own, folder / engine / "half", None, 3, world)
            walked(own, folder / engine / "resumed", half, 6, world)


def small_updates(engines: list[str], precision: str) -> dict[str, tuple[float, float]]:
    """The least and the largest weight after ten updates of 1e-4, from weights of one."""
    world = World.detect()
    found = {}

    def make_model() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
        for parameter in model.parameters():
            nn.init.ones_(parameter)
        model[0].requires_grad_(False)
        return model

    def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for _, p in named if p.requires_grad], lr=1e-4)

    with process_group(world, 60), tempfile.TemporaryDirectory():
        for name in engines:
            options = (
                {"name": "deepspeed", "stage": int(name[-1])} if name.startswith("zero") else {"name": name}
            )
            config = registry.get("engine", options["name"]).model(
                **options, precision=precision, loss_scale={"initial": 1024}
            )
            settings = EngineSettings(make_model, make_optimizer, world, torch.device("cpu"))
            engine = registry.build("engine", config, settings=settings)
            for _ in range(10):
                engine.zero_grad()
                engine.announce(last=True)
                # A quarter of each input row, times four hidden units: every gradient is exactly one.
                losses = engine.forward(torch.full((2, 4), 0.25)).sum(1)
                engine.backward(losses, torch.full((2,), 0.5 / world.size))
                engine.clip(None)
                engine.step()
            trained = dict(engine.named_weights())["1.weight"]
            found[name] = (float(trained.min()), float(trained.max()))
    return found
