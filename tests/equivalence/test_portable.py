"""A checkpoint of any engine on any number of processes goes on under any other, on the same curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.equivalence.portable_cases import Leg, legs, saved_without_gathering, tensors, walk
from tests.equivalence.test_zero import apart
from tests.equivalence.zero_cases import MOMENTUM

pytest.importorskip("deepspeed", reason="deepspeed is not installed")

ADAMW = [
    "optimizer={name: adamw, lr: 0.01}",
    "train.weight_decay_on=matrices",
    "train.ema={decay: 0.9}",
    "schedule=cosine",
]
ENGINES = ["ddp", "fsdp", "zero0", "zero1", "zero2", "zero3", "zero3_offload"]
LAYOUTS = [
    ("single", 1),
    *((engine, n) for engine in ENGINES for n in (1, 2, 4) if (engine, n) != ("ddp", 1)),
]
HALF, END = 3, 6


def off_curve(here: Path, there: Path) -> dict[str, float]:
    """What differs by more than rounding; which kernel makes the steps is each layout's affair."""
    return {name: by for name, by in apart(here, there).items() if not name.endswith(("/fused", "/foreach"))}


def newest(folder: Path) -> Path:
    return folder / (folder / "latest").read_text().strip()


def train(options: list[str], world: int, todo: list[Leg]) -> None:
    run_ranks(legs, world, options, todo, timeout=600)


def test_a_chain_of_engines_is_one_run(tmp_path: Path) -> None:
    whole = walk(ADAMW, None, 8, "single", tmp_path / "whole", World())
    start: Path | None = None
    for stop, (engine, world) in enumerate([("zero3", 4), ("fsdp", 2), ("single", 1), ("ddp", 2)], 1):
        folder = tmp_path / str(stop)
        train(ADAMW, world, [(start, 2 * stop, engine, folder)])
        start = newest(folder)
    assert start is not None
    assert off_curve(start, whole) == {}


def product(options: list[str], sources: list[tuple[str, int]], folder: Path) -> list[str]:
    """What each source saved, continued by every layout: the pairs that left the curve."""
    for world in (1, 2, 4):
        todo: list[Leg] = [
            (None, HALF, engine, folder / f"{engine}{world}") for engine, n in sources if n == world
        ]
        if todo:
            train(options, world, todo)
    whole = walk(options, None, END, "single", folder / "whole", World())
    wrong = []
    for world in (1, 2, 4):
        pairs = [(s, n, engine) for s, n in sources for engine, m in LAYOUTS if m == world]
        ends = {pair: folder / f"{pair[0]}{pair[1]}-{pair[2]}{world}" for pair in pairs}
        train(options, world, [(newest(folder / f"{s}{n}"), END, e, ends[s, n, e]) for s, n, e in pairs])
        wrong += [
            f"{s}@{n} -> {e}@{world}: {found}"
            for (s, n, e), end in ends.items()
            if (found := off_curve(newest(end), whole))
        ]
    return wrong


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source", LAYOUTS, ids=[f"{engine} on {world}" for engine, world in LAYOUTS])
@pytest.mark.parametrize("options", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
def test_every_pair(options: list[str], source: tuple[str, int], tmp_path: Path) -> None:
    assert product(options, [source], tmp_path) == []


def test_every_rank_writes_its_share_and_nothing_is_gathered(tmp_path: Path) -> None:
    engines = ["ddp", "fsdp", "zero0", "zero1", "zero3"]
    sizes = run_ranks(saved_without_gathering, 2, ADAMW, engines, tmp_path)
    for engine in engines:
        total = tensors(newest(tmp_path / engine))
        assert sum(own[engine] for own in sizes) == total
        assert all(0.4 * total < own[engine] < 0.6 * total for own in sizes), (engine, sizes, total)
