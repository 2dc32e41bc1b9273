"""What an engine keeps on one rank: parameters, gradients and optimizer state, beside the ZeRO paper."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from framework.config.load import load
from framework.data.batch import DataSpec
from framework.engines.base import Engine, EngineSettings
from framework.parallel.process_group import device_of
from framework.parallel.world import World
from framework.registry import registry

NUM_TOKENS, LENGTH, SAMPLES = 1024, 32, 1
#: bytes per parameter of AdamW in fp32: weights, gradient, two moments
WEIGHTS, GRADIENT, MOMENTS = 4, 4, 8
#: the copy of the weights that DeepSpeed's optimizer keeps from stage 1 on, also where they are fp32
COPY = 4
LIMIT = 0.15


def expected(engine: str, world_size: int) -> tuple[float, float]:
    """Bytes per parameter on each rank by arXiv 1910.02054, Figure 1: without and with DeepSpeed's copy.

    The paper's K = 12 bytes of mixed precision are the two moments and that copy; in fp32 the copy is no
    necessity, and K is 8.
    """

    def formula(optimizer: int) -> float:
        divided = {"zero1": 1, "zero2": 2, "zero3": 3, "zero3_offload": 3, "fsdp": 3}.get(engine, 0)
        parts = [optimizer, GRADIENT, WEIGHTS]
        return sum(part / world_size if number < divided else part for number, part in enumerate(parts))

    copies = engine.startswith("zero") and engine != "zero0"
    return formula(MOMENTS), formula(MOMENTS + (COPY if copies else 0))


def measure(name: str, world: World) -> dict[str, float]:
    """The largest model states of three steps of a 50 M transformer, and what else stays, in bytes.

    States are counted tensor by tensor, each storage once, after a backward pass and after the step:
    `parameters` with any copy of them, `gradients`, `optimizer`. `resident` is what the process grew by
    at those moments beside them: buffers for messages, the allocator, libraries loaded on first use.
    """
    spec = DataSpec((LENGTH,), None, num_tokens=NUM_TOKENS, next_tokens=True)
    section = registry.get("model", "transformer_lm").model.model_validate(
        {"name": "transformer_lm", "preset": "50m"}
    )
    device = device_of(world)

    def make_model() -> nn.Module:
        torch.manual_seed(0)
        model: nn.Module = registry.build("model", section, spec=spec)
        return model

    def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW([parameter for _, parameter in named], fused=True)

    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in make_model().parameters())
    before = resident()
    settings = EngineSettings(make_model, make_optimizer, world, device)
    preset = load("vit_rgd.yaml", [f"engine={name}"], world_size=world.size).config.engine
    engine: Engine = registry.build("engine", preset, settings=settings)
    moments = []
    for _ in range(3):
        tokens = torch.randint(NUM_TOKENS, (SAMPLES, LENGTH + 1))
        engine.zero_grad()
        engine.announce(last=True)
        logits = engine.forward(tokens[:, :-1])
        losses = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)
        engine.backward(losses, torch.full((SAMPLES,), 1.0 / (SAMPLES * world.size)))
        del logits, losses
        engine.clip(None)
        moments.append(states(engine))
        engine.step()
        moments.append(states(engine))
    largest = max(moments, key=lambda found: sum(found.values()))
    total = sum(largest.values())
    return {**largest, "rest": resident() - before - total, "num_parameters": num_parameters}


def states(engine: Engine) -> dict[str, float]:
    """Bytes of this rank's model states; a storage counts once, for the first that names it."""
    seen: set[int] = set()
    return {
        "gradients": _bytes(_gradients(engine), seen),
        "optimizer": _bytes(_moments(engine), seen),
        "parameters": _bytes(_weights(engine), seen),
    }


def _weights(engine: Engine) -> Iterator[Any]:
    zero = getattr(engine, "zero", None)
    yield from engine.model.parameters()
    for parameter in engine.model.parameters():
        yield getattr(parameter, "ds_tensor", None)
    for group in engine.optimizer.param_groups:
        yield from group["params"]
    if zero is not None:
        for name in (
            "bit16_groups_flat",
            "single_partition_of_fp32_groups",
            "fp16_partitioned_groups_flat",
            "fp32_partitioned_groups_flat",
        ):
            yield from getattr(zero, name, ())


def _gradients(engine: Engine) -> Iterator[Any]:
    zero = getattr(engine, "zero", None)
    for parameter in engine.model.parameters():
        yield parameter.grad
    for group in engine.optimizer.param_groups:
        for parameter in group["params"]:
            yield parameter.grad
    if zero is not None:
        yield getattr(zero, "grad_partitions_flat_buffer", None)
        for found in (getattr(zero, "averaged_gradients", None) or {}).values():
            yield from found or ()


def _moments(engine: Engine) -> Iterator[Any]:
    for state in engine.optimizer.state.values():
        yield from state.values()


def _bytes(tensors: Iterable[Any], seen: set[int]) -> float:
    total = 0
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        local = getattr(tensor, "_local_tensor", tensor)
        storage = local.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return float(total)


def resident() -> float:
    """Bytes of this process in memory."""
    gc.collect()
    # What was freed goes back to the system: it is no engine's.
    ctypes.CDLL(None).malloc_trim(0)
    return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


HEADER = (
    "\nbytes per parameter on each of 2 ranks: 50 M transformer, AdamW, fp32\n"
    "  engine         weights  gradients  optimizer    sum   ZeRO paper     with the copy           rest"
)


def line(engine: str, sizes: dict[str, float]) -> str:
    """The measured bytes per parameter beside the formulas."""
    count = sizes["num_parameters"]
    parts = [sizes[name] / count for name in ("parameters", "gradients", "optimizer")]
    off = [sum(parts) / one - 1 for one in expected(engine, 2)]
    beside = [f"{one:6.2f} {more:+6.1%}" for one, more in zip(expected(engine, 2), off, strict=True)]
    met = "met" if min(map(abs, off)) <= LIMIT else "MISSED"
    return (
        f"  {engine:<14s} {parts[0]:7.2f} {parts[1]:10.2f} {parts[2]:10.2f} {sum(parts):6.2f}"
        f"   {beside[0]}   {beside[1]} ({met}) {sizes['rest'] / count:6.2f}"
    )
