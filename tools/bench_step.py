"""What a training step costs: the framework against a plain PyTorch loop, policies against ERM.

All variants take turns in one process, block by block, so that a noisy machine slows them alike; ratios
are medians over the rounds of the ratio within a round. Memory is measured in a process per variant.

    python tools/bench_step.py
    python tools/bench_step.py --rounds 40 --only vit
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from framework.config.load import load
from framework.parallel.world import World
from framework.reporting.fanout import Reporters
from framework.reporting.jsonl import JsonLines
from framework.training.assemble import Run, assemble
from framework.training.hooks import RunHeader
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal

POLICIES = {
    "erm": ["policy=erm"],
    "rgd": ["policy=rgd"],
    "group_dro": ["policy=group_dro"],
    "also descent-ascent": ["policy=also", "policy.mode=descent_ascent"],
    "also optimistic": ["policy=also"],
}
MODELS = {
    "vit": ["model=vit_tiny"],
    "mlp": ["model=mlp", "model.hidden=[256, 256]"],
    "tiny mlp": ["model=mlp", "model.hidden=[64]"],
}
#: 21 million parameters, so that a copy of them is seen beside what the process holds anyway
LARGE = ["model=vit_small", "model.patch_size=4", "batch.size=16"]
#: no end, no evaluation, no checkpoint: the bench steps as long as it wants to
ENDLESS = [
    "reporting=quiet",
    "train.epochs=null",
    "train.steps=1000000",
    "evaluate.every_epochs=null",
    "checkpoint.every_epochs=null",
    "model.dropout=0.0",
    "schedule=cosine",
]
LIMITS: dict[str, float | None] = {"vit": 1.05, "mlp": 1.15, "tiny mlp": None}
POLICY_LIMITS = {"rgd": 1.03, "group_dro": 1.03, "also descent-ascent": 1.03, "also optimistic": 1.15}


def framework_run(overrides: Sequence[str], folder: Path, world: World | None = None) -> Run:
    """A run as `python -m framework` would build it, writing metrics.jsonl into `folder`."""
    world = world or World()
    folder.mkdir(parents=True, exist_ok=True)
    reporters = Reporters([JsonLines(folder)] if world.is_main else [])
    config = load("vit_rgd.yaml", [*ENDLESS, *overrides], world_size=world.size).config
    run = assemble(config, dir=folder, reporters=reporters, world=world)
    reporters.start(RunHeader("bench", folder, 10**6, run.progress.steps_per_epoch, None, ()))
    return run


def stepper(run: Run) -> Callable[[int], None]:
    """Takes steps as the framework's loop takes them."""
    signals = StopSignal(run.world)

    def take(num_steps: int) -> None:
        for _ in range(num_steps):
            advance(run, signals)

    return take


def plain(run: Run, folder: Path) -> Callable[[int], None]:
    """The same training written out: same model, data, batches, optimizer, schedule, norm, records."""
    data = run.data.splits["train"]
    inputs, targets = data.inputs, data.targets  # type: ignore[attr-defined]
    model = run.engine.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**6)
    size, count = run.plan.size, len(data)
    file = (folder / "plain.jsonl").open("w")
    parameters = list(model.parameters())
    state: dict[str, Any] = {
        "order": torch.randperm(count),
        "position": 0,
        "step": 0,
        "loss": torch.zeros(()),
    }

    def take(num_steps: int) -> None:
        for _ in range(num_steps):
            if state["position"] >= count:
                state["order"], state["position"] = torch.randperm(count), 0
            index = state["order"][state["position"] : state["position"] + size]
            state["position"] += size
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(inputs[index]), targets[index])
            torch.autograd.backward(loss)
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if norm.isfinite():
                optimizer.step()
            schedule.step()
            state["loss"] = state["loss"] + loss.detach()
            state["step"] += 1
            if state["step"] % 10 == 0:
                record = {
                    "step": state["step"],
                    "loss": float(state["loss"]) / 10,
                    "lr": schedule.get_last_lr()[0],
                    "gradient_norm": float(norm),
                }
                file.write(json.dumps(record) + "\n")
                file.flush()
                state["loss"] = torch.zeros(())

    return take


def interleaved(takers: dict[str, Callable[[int], None]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds per step of each, one block of `steps` each per round."""
    for take in takers.values():
        take(steps)
    seconds: dict[str, list[float]] = {name: [] for name in takers}
    for number in range(rounds):
        names = list(takers) if number % 2 == 0 else list(reversed(takers))
        for name in names:
            start = time.perf_counter()
            takers[name](steps)
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


def verdict(value: float, limit: float | None) -> str:
    """The ratio beside its limit."""
    if limit is None:
        return f"{value:6.3f}"
    return f"{value:6.3f}  (limit {limit:.2f}: {'met' if value <= limit else 'MISSED'})"


def speed(model: str, rounds: int, steps: int) -> None:
    """Print the ratios of one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = framework_run([*MODELS[model], *POLICIES["erm"]], folder / "base")
        takers = {"plain": plain(framework_run([*MODELS[model], "policy=erm"], folder / "p"), folder)}
        takers["erm"] = stepper(base)
        for policy in POLICIES:
            if policy != "erm":
                run = framework_run([*MODELS[model], *POLICIES[policy]], folder / policy.replace(" ", "_"))
                takers[policy] = stepper(run)
        seconds = interleaved(takers, rounds, steps)
    milliseconds = statistics.median(seconds["plain"]) * 1e3
    print(f"\n{model}: plain loop {milliseconds:.2f} ms a step ({rounds} rounds of {steps} steps)")
    print(f"  framework erm / plain loop      {verdict(ratio(seconds, 'erm', 'plain'), LIMITS[model])}")
    for policy in POLICIES:
        if policy != "erm":
            limit = POLICY_LIMITS[policy] if model == "vit" else None
            print(f"  {policy:<20s} / erm      {verdict(ratio(seconds, policy, 'erm'), limit)}")


def memory() -> None:
    """Print the peak memory of each policy's process beside ERM's."""
    peaks: dict[str, float] = {}
    copies: dict[str, float] = {}
    for policy in POLICIES:
        command = [sys.executable, __file__, "--peak", policy]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[policy], copies[policy] = json.loads(output.splitlines()[-1])
    print("\npeak memory of the process / erm's, after 8 steps of a ViT with 21 M parameters")
    print(f"  erm: {peaks['erm'] / 2**20:.0f} MiB; one parameter copy: {copies['erm'] / 2**20:.0f} MiB")
    for policy in POLICIES:
        if policy != "erm":
            more = (peaks[policy] - peaks["erm"]) / copies[policy]
            limit = 1.05 + (copies[policy] / peaks["erm"] if policy == "also optimistic" else 0)
            print(f"  {policy:<20s}  {verdict(peaks[policy] / peaks['erm'], limit)}  = {more:+.2f} copies")


def peak(policy: str) -> None:
    """Take a few steps and print the peak resident memory and the bytes of the parameters."""
    with tempfile.TemporaryDirectory() as name:
        run = framework_run([*LARGE, *POLICIES[policy]], Path(name) / "run")
        stepper(run)(8)
        size = sum(p.nbytes for p in run.engine.model.parameters())
        print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, size]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20, help="steps per block")
    parser.add_argument("--only", choices=[*MODELS, "memory"])
    parser.add_argument("--peak", choices=POLICIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for model in MODELS:
        if options.only in (None, model):
            speed(model, options.rounds, options.steps * (1 if model == "vit" else 10))
    if options.only in (None, "memory"):
        memory()


if __name__ == "__main__":
    main()
