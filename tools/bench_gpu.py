"""One GPU, bf16 and compiled: the framework's step against a bare loop, MFU, kernels and host syncs.

Called by `bench_engines.py --device cuda`; the batches are made on the device, so that no reader is timed.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from framework.config.batch_plan import BatchPlan
from framework.config.load import load
from framework.data.batch import Batch, DataSpec, GlobalBatch
from framework.engines.base import EngineSettings
from framework.parallel.world import World
from framework.registry import registry
from framework.training.guards import NonFiniteGuard
from framework.training.progress import Progress
from framework.training.step import Step

#: dense bf16 operations per second that the makers give, without sparsity, by a part of the device's name
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "V100": 125e12}
NUM_CLASSES, NUM_TOKENS, LENGTH = 1000, 50_304, 1024
STEPS = 10
#: model -> section, samples per step, positions per sample, blocks, width
MODELS: dict[str, tuple[dict[str, Any], int, int, int, int]] = {
    "ViT-B/16": ({"name": "vit", "preset": "base", "patch_size": 16}, 128, 197, 12, 768),
    "transformer 350m": ({"name": "transformer_lm", "preset": "350m"}, 8, LENGTH, 24, 1024),
}
POLICIES = ("erm", "rgd", "group_dro")


def step_flops(num_parameters: int, num_positions: int, length: int, layers: int, width: int) -> float:
    """Operations of one training step over `num_positions` in sequences of `length`.

    Six per weight and position, forward and backward, and 12 x layers x width x length per position for
    the attention (PaLM, arXiv 2204.02311, Appendix B). Weights that are only looked up do not count.
    """
    return num_positions * (6.0 * num_parameters + 12.0 * layers * width * length)


def utilization(flops: float, seconds: float, peak: float) -> float:
    """Model FLOPs utilization: the share of the device's peak that the model's arithmetic reached."""
    return flops / seconds / peak


def peak_of(device_name: str) -> float | None:
    """Operations per second of the device, None for one that is not in the list."""
    return next((value for key, value in PEAK.items() if key in device_name), None)


def bench(rounds: int) -> None:
    """Print the measurements of every model.

    Raises:
        SystemExit: there is no GPU.
    """
    if not torch.cuda.is_available():
        sys.exit("--device cuda needs a CUDA device, and torch sees none; without it, --device cpu")
    name = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {name}, bf16, compiled")
    for model in MODELS:
        measure(model, rounds, peak_of(name))


def measure(name: str, rounds: int, peak: float | None) -> None:
    options, size, length, layers, width = MODELS[name]
    device = torch.device("cuda")
    language = options["name"] == "transformer_lm"
    spec = (
        DataSpec((LENGTH,), None, num_tokens=NUM_TOKENS, next_tokens=True)
        if language
        else DataSpec((3, 224, 224), NUM_CLASSES)
    )
    batch = random_batch(size, spec, device)
    steps = {policy: framework_step(options, policy, size, spec, device) for policy in POLICIES}
    takers: dict[str, Callable[[], object]] = {"bare": bare_step(options, spec, batch.micros[0], device)}
    takers |= {policy: lambda step=step: step(batch) for policy, step in steps.items()}  # type: ignore[misc]
    seconds = alternate(takers, rounds)
    bare = statistics.median(seconds["bare"])
    weights = sum(p.numel() for n, p in steps["erm"].engine.model.named_parameters() if "position" not in n)
    flops = step_flops(weights, size * length, length, layers, width)
    print(f"\n{name}: bare loop {bare * 1e3:.2f} ms a step of {size} samples ({rounds} rounds)")
    for policy in POLICIES:
        ratio = statistics.median(a / b for a, b in zip(seconds[policy], seconds["bare"], strict=True))
        line = f"  {policy:<10s} / bare {ratio:.3f}"
        if policy != "erm":
            over = statistics.median(a / b for a, b in zip(seconds[policy], seconds["erm"], strict=True))
            line += f"   policy's share {over - 1:+.2%}"
        if peak is not None:
            line += f"   MFU {utilization(flops, statistics.median(seconds[policy]), peak):.1%}"
        print(line)
    for label, take in takers.items():
        print(f"  {label:<10s} {num_kernels(take)} kernels a step, {num_syncs(take)} host syncs")


def random_batch(size: int, spec: DataSpec, device: torch.device) -> GlobalBatch:
    """One global batch on the device."""
    generator = torch.Generator(device).manual_seed(0)
    shared: dict[str, Any] = {"device": device, "generator": generator}
    if spec.next_tokens:
        tokens = torch.randint(NUM_TOKENS, (size, LENGTH + 1), **shared)
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    else:
        inputs = torch.randn(size, *spec.input_shape, **shared)
        targets = torch.randint(NUM_CLASSES, (size,), **shared)
    index = torch.arange(size, device=device)
    valid = torch.ones(size, dtype=torch.bool, device=device)
    return GlobalBatch([Batch(inputs, targets, index % 2, index, valid)], size, 0, 0)


def framework_step(
    options: dict[str, Any], policy: str, size: int, spec: DataSpec, device: torch.device
) -> Step:
    """The framework's step, put together as the assembly does."""
    language = spec.next_tokens
    preset = load("vit_rgd.yaml", ["engine=single", "engine.precision=bf16", "engine.compile=true"]).config
    settings = EngineSettings(lambda: make_model(options, spec), adamw, World(), device)
    engine = registry.build("engine", preset.engine, settings=settings)
    task = registry.get("task", "language_modeling" if language else "classification")
    supplied = {
        "spec": spec,
        "class_counts": [1] * NUM_CLASSES,
        "class_shares": [1 / NUM_CLASSES] * NUM_CLASSES,
    }
    chosen = registry.get("policy", policy)
    rule = chosen.build(
        chosen.model(name=policy),
        group_counts=[size, size],
        group_shares=[0.5, 0.5],
        group_names=["0", "1"],
        batch_size=size,
    ).to(device)
    plan = BatchPlan.solve(size, None, 1)
    guard = NonFiniteGuard(5, str)
    return Step(
        engine, task.build(task.model(name=task.name), **supplied), rule, plan, guard, Progress(10**6, 10**6)
    )


def bare_step(
    options: dict[str, Any], spec: DataSpec, batch: Batch, device: torch.device
) -> Callable[[], object]:
    """The same step written out."""
    model = make_model(options, spec).to(device)
    optimizer, compute = adamw(list(model.named_parameters())), torch.compile(model)
    inputs, targets = batch.inputs, batch.targets.flatten()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            outputs = compute(inputs)
        loss = F.cross_entropy(outputs.float().flatten(0, -2), targets)
        torch.autograd.backward(loss)
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        return loss.detach()

    return step


def make_model(options: dict[str, Any], spec: DataSpec) -> nn.Module:
    torch.manual_seed(0)
    component = registry.get("model", options["name"])
    model: nn.Module = component.build(component.model(**options), spec=spec)
    return model


def adamw(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-4, fused=True)


def alternate(takers: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each, a block of steps in every round; compiled before."""
    for take in takers.values():
        for _ in range(STEPS):
            take()
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for number in range(rounds):
        for name in takers if number % 2 == 0 else reversed(takers):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(STEPS):
                takers[name]()
            torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - start) / STEPS)
    return seconds


def num_kernels(take: Callable[[], object]) -> int:
    """Kernels, copies and fills on the device in one step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        take()
        torch.cuda.synchronize()
    return sum(event.device_type == torch._C._autograd.DeviceType.CUDA for event in profile.events())


def num_syncs(take: Callable[[], object]) -> int:
    """How often the host waits for the device in one step."""
    with warnings.catch_warnings(record=True) as caught, _synchronizations_warn():
        warnings.simplefilter("always")
        take()
    return sum("synchronizing" in str(warning.message) for warning in caught)


@contextmanager
def _synchronizations_warn() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
