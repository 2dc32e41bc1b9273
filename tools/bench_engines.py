"""What the framework adds to an engine, what a policy costs, and what each engine keeps in memory.

Every engine runs in two processes of its own, one thread each. There the framework and a bare loop around
the same engine take turns, block by block; ratios are medians over the rounds of the ratio within a round.
Beside the ratio of times stands that of CPU seconds, which another program's load disturbs less.

    python tools/bench_engines.py
    python tools/bench_engines.py --only speed --engines ddp fsdp --rounds 40
    python tools/bench_engines.py --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bare_engines import bare_step
from bench_step import framework_run, stepper, verdict
from engine_memory import HEADER, line, measure
from torch import distributed

from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.policies.base import Policy
from framework.registry import registry
from framework.training.assemble import Run
from framework.training.samples import Gather

ENGINES = ("ddp", "fsdp", "zero0", "zero1", "zero2", "zero3", "zero3_offload")
#: the ViT of vit_rgd, and one whose step is mostly arithmetic; and steps per block
MODELS = {
    "vit": (["model.hidden_size=192", "model.layers=6", "model.init_std=0.02"], 1),
    "small vit": ([], 5),
}
POLICIES = {"rgd": ["policy=rgd", "policy.normalization=sum_one"], "group_dro": ["policy=group_dro"]}
LIMIT = {"vit": 1.05, "small vit": None}
POLICY_LIMIT = 0.01
NUM_PROCESSES = 2


def in_processes(job: dict[str, Any]) -> Any:
    """What `work(job)` gives on rank 0 of two processes, one thread each."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        common = {
            **os.environ,
            "WORLD_SIZE": str(NUM_PROCESSES),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
        }
        command = [sys.executable, __file__, "--work", json.dumps({**job, "folder": folder})]
        processes = [
            subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(NUM_PROCESSES)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit(f"{job}: exit codes {codes}")
        return json.loads((Path(folder) / "result.json").read_text())


def work(job: dict[str, Any]) -> None:
    """One process of a measurement; rank 0 writes what it found."""
    world = World.detect()
    with process_group(world, 600):
        result = {"speed": speed, "policy": policy_share, "memory": memory}[job["kind"]](job, world)
        if world.is_main:
            (Path(job["folder"]) / "result.json").write_text(json.dumps(result))


def bare_loop(run: Run, engine: str, path: Path) -> Callable[[int], None]:
    """The same training written out around the bare engine: same model, data, schedule and records."""
    data: Any = run.data.splits["train"]
    torch.manual_seed(0)
    step = bare_step(engine, registry.build("model", run.config.model, spec=run.data.spec))
    size, count = run.plan.size, len(data)
    own = slice(run.world.rank * run.plan.micro, (run.world.rank + 1) * run.plan.micro)
    file = path.open("w")
    state: dict[str, Any] = {"order": torch.arange(0), "step": 0, "loss": torch.zeros(())}

    def take(num_steps: int) -> None:
        for _ in range(num_steps):
            if len(state["order"]) < size:
                generator = torch.Generator().manual_seed(state["step"])
                state["order"] = torch.randperm(count, generator=generator)
            batch, state["order"] = state["order"][:size][own], state["order"][size:]
            loss, norm = step(data.inputs[batch], data.targets[batch])
            state["loss"] += loss
            state["step"] += 1
            if state["step"] % 10 == 0:
                mean = state["loss"] / 10
                distributed.all_reduce(mean)
                record = {"step": state["step"], "loss": float(mean) / NUM_PROCESSES, "norm": float(norm)}
                file.write(json.dumps(record) + "\n")
                file.flush()
                state["loss"] = torch.zeros(())

    return take


def speed(job: dict[str, Any], world: World) -> dict[str, list[list[float]]]:
    """[seconds, CPU seconds] of a block of the framework and of the bare loop, in every round."""
    overrides, steps = MODELS[job["model"]]
    run = framework_run([*overrides, "policy=erm", f"engine={job['engine']}"], Path(job["folder"]), world)
    bare = bare_loop(run, job["engine"], Path(job["folder"]) / f"bare-{world.rank}.jsonl")
    takers = {"framework": stepper(run), "bare": bare}
    for take in takers.values():
        take(2 * steps)
    found: dict[str, list[list[float]]] = {name: [] for name in takers}
    for number in range(job["rounds"]):
        for name in takers if number % 2 == 0 else reversed(takers):
            start, cpu = time.perf_counter(), time.process_time()
            takers[name](steps)
            found[name].append([time.perf_counter() - start, time.process_time() - cpu])
    return found


def policy_share(job: dict[str, Any], world: World) -> dict[str, float]:
    """The share of the gather and of the policy in a step of engine ddp, and milliseconds of each."""
    overrides, steps = MODELS[job["model"]]
    run = framework_run([*overrides, *POLICIES[job["policy"]], "engine=ddp"], Path(job["folder"]), world)
    take = stepper(run)
    take(steps)
    spent = {"gather": 0.0, "policy": 0.0, "cpu": 0.0}
    with timed(run.policy, spent):
        shares, cpu_shares = [], []
        for _ in range(job["rounds"]):
            before = dict(spent)
            start, cpu = time.perf_counter(), time.process_time()
            take(steps)
            used = {name: spent[name] - before[name] for name in spent}
            # To wait for the slower process belongs to the step: the gradients would wait for it instead.
            shares.append((used["gather"] + used["policy"]) / (time.perf_counter() - start))
            cpu_shares.append(used["cpu"] / (time.process_time() - cpu))
    milliseconds = {name: 1e3 * value / (steps * job["rounds"]) for name, value in spent.items()}
    medians = {"share": statistics.median(shares), "cpu_share": statistics.median(cpu_shares)}
    return {**milliseconds, **medians}


@contextmanager
def timed(policy: Policy, spent: dict[str, float]) -> Iterator[None]:
    """Inside, what steps spend on gathering samples and on the policy is added up in `spent`."""

    def counted(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            if name == "gather":
                distributed.barrier()
            start, cpu = time.perf_counter(), time.process_time()
            result = call(*args)
            spent[name] += time.perf_counter() - start
            spent["cpu"] += time.process_time() - cpu
            return result

        return wrapped

    gather = Gather.__call__
    Gather.__call__ = counted(gather, "gather")  # type: ignore[method-assign]
    kind: Any = type(policy)
    methods = ("update", "weights", "state_dict")
    originals = {name: getattr(kind, name) for name in methods}
    for name, original in originals.items():
        setattr(kind, name, counted(original, "policy"))
    try:
        yield
    finally:
        Gather.__call__ = gather  # type: ignore[method-assign]
        for name, original in originals.items():
            setattr(kind, name, original)


def memory(job: dict[str, Any], world: World) -> dict[str, float]:
    """What one rank of engine `job["engine"]` keeps; see `engine_memory`."""
    return measure(job["engine"], world)


def print_speed(engines: list[str], rounds: int) -> None:
    for model, (_, steps) in MODELS.items():
        print(f"\n{model}: the framework's loop / a bare loop around the same engine, {rounds} rounds")
        for engine in engines:
            found = in_processes({"kind": "speed", "engine": engine, "model": model, "rounds": rounds})
            pairs = list(zip(found["framework"], found["bare"], strict=True))
            ratios, cpu = ([own[kind] / other[kind] for own, other in pairs] for kind in (0, 1))
            low, middle, high = statistics.quantiles(ratios, n=4)
            bare = statistics.median(seconds for seconds, _ in found["bare"]) / steps * 1e3
            print(
                f"  {engine:<14s} bare {bare:7.1f} ms   {verdict(middle, LIMIT[model])}"
                f"   quartiles {low:.3f} to {high:.3f}   CPU {statistics.median(cpu):.3f}",
                flush=True,
            )


def print_policies(rounds: int) -> None:
    print("\nshare of a step taken by the gather of samples and by the policy, engine ddp")
    for model in MODELS:
        for policy in POLICIES:
            found = in_processes({"kind": "policy", "policy": policy, "model": model, "rounds": rounds})
            met = "met" if found["share"] <= POLICY_LIMIT else "MISSED"
            limit = f"limit {POLICY_LIMIT:.0%}: {met}" if LIMIT[model] is not None else "no limit"
            print(
                f"  {model:<10s} {policy:<10s} {found['share']:6.2%} ({limit})   gather"
                f" {found['gather']:.3f} ms, policy {found['policy']:.3f} ms; of CPU seconds"
                f" {found['cpu_share']:.2%}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", choices=["speed", "policy", "memory"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    if options.device == "cuda":
        from bench_gpu import bench

        bench(options.rounds)
        return
    print(f"torch {torch.__version__}, {NUM_PROCESSES} processes, one thread each")
    if options.only in (None, "speed"):
        print_speed(options.engines, options.rounds)
    if options.only in (None, "policy"):
        print_policies(options.rounds)
    if options.only in (None, "memory"):
        print(HEADER)
        for engine in options.engines:
            print(line(engine, in_processes({"kind": "memory", "engine": engine})), flush=True)


if __name__ == "__main__":
    main()
