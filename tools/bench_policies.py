"""What a policy costs: its step on n losses as a ratio to one softmax over them.

Policy and softmax take turns, block by block, so that a noisy machine slows them alike; a ratio is the
median over the rounds. Every file of conf/policy is measured, with n samples in 10 and in 10,000 groups.

    python tools/bench_policies.py
    python tools/bench_policies.py --rounds 30 --device cuda --only cvar group_dro
    python tools/bench_policies.py --vit     # and n = 4,096 as a share of a step of vit_rgd.yaml
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import yaml

from framework.config.load import load
from framework.policies import Policy, SampleLosses
from framework.registry import registry
from framework.training.assemble import assemble

CONF = Path(__file__).parents[1] / "conf" / "policy"
SIZES = (256, 4096, 65536)
GROUPS = (10, 10_000)
NEEDED = {"trimmed": {"rare_groups": "warn"}, "deferred": {"epoch": 0}}


def built(name: str, num_groups: int, device: torch.device) -> Policy:
    section = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | NEEDED.get(name, {})
    config = registry.get("policy", section["name"]).model.model_validate(section)
    counts = [100] * num_groups
    policy: Policy = registry.build(
        "policy",
        config,
        group_counts=counts,
        group_shares=[1 / num_groups] * num_groups,
        group_names=[str(group) for group in range(num_groups)],
        class_shares=None,
        class_names=None,
        batch_size=64,
        updates_per_epoch=1,
    )
    return policy.to(device)


def batch(size: int, num_groups: int, device: torch.device) -> SampleLosses:
    generator = torch.Generator().manual_seed(0)
    losses = (torch.rand(size, generator=generator) * 4).to(device)
    groups = torch.randint(0, num_groups, (size,), generator=generator).to(device)
    index = torch.arange(size, device=device)
    return SampleLosses(losses, groups, index, size, {"baseline_loss": losses * 0.5})


def seconds(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Mean time of one call."""
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats


def ratio(
    action: Callable[[], object], base: Callable[[], object], rounds: int, device: torch.device
) -> float:
    """Median over the rounds of the time of `action` over that of `base`."""
    seconds(action, 2, device), seconds(base, 2, device)
    return statistics.median(seconds(action, 10, device) / seconds(base, 30, device) for _ in range(rounds))


def table(names: Sequence[str], rounds: int, device: torch.device) -> None:
    print("| policy | " + " | ".join(f"n {n:,}, {g:,} groups" for n in SIZES for g in GROUPS) + " |")
    print("|---" * (1 + len(SIZES) * len(GROUPS)) + "|")
    for name in names:
        cells = []
        for size in SIZES:
            for num_groups in GROUPS:
                policy, samples = built(name, num_groups, device), batch(size, num_groups, device)
                cells.append(
                    ratio(lambda: policy.step(samples), lambda: samples.loss.softmax(0), rounds, device)  # noqa: B023
                )
        print(f"| `{name}` | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)


def shares_of_a_step(names: Sequence[str], rounds: int, device: torch.device) -> None:
    """A policy on 4,096 losses as a share of a step of vit_rgd.yaml, one group per class."""
    endless = ["reporting=quiet", "policy=erm", "evaluate.every_epochs=null", "checkpoint.every_epochs=null"]
    size = 4096
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*endless, f"batch.size={size}", "data.sampling.name=group_balanced"]
        run = assemble(load("vit_rgd.yaml", [*overrides, f"run.dir={folder}/run"]).config)
        full = next(run.loader)
        print(f"samples in the step: {full.num_samples:,}")
        samples = batch(size, 10, device)
        for name in names:
            policy = built(name, 10, device)
            shares = [
                seconds(lambda: policy.step(samples), 20, device)  # noqa: B023
                / (seconds(lambda: run.step(full), 1, device) * size / full.num_samples)
                for _ in range(rounds)
            ]
            print(f"{name}: {statistics.median(shares):.3%} of a step", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = sorted(path.stem for path in CONF.glob("*.yaml"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    parser.add_argument("--vit", action="store_true", help="measure the share of a step as well")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    table(arguments.only, arguments.rounds, device)
    if arguments.vit:
        shares_of_a_step(arguments.only, max(3, arguments.rounds // 5), device)


if __name__ == "__main__":
    main()
