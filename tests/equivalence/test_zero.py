"""The ZeRO engines beyond the matrix: states that travel, dropped gradients, one process, a quiet run."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from framework.parallel.world import World
from tests.distributed import run_ranks, start_ranks
from tests.equivalence.zero_cases import (
    MOMENTUM,
    RICH,
    STEPS,
    advanced,
    built,
    dropped,
    engine_state,
    leg,
    walked,
)
from tests.equivalence.zero_models import odd_models

pytest.importorskip("deepspeed", reason="deepspeed is not installed")

PRESETS = ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"]


def alone(overrides: list[str], folder: Path, start: Path | None, step: int) -> Path:
    return walked([*overrides, "engine=single"], folder, start, step, World())


def on_two(engine: str, overrides: list[str], folder: Path, start: Path | None, step: int) -> Path:
    path: Path = run_ranks(leg, 2, [*overrides, f"engine={engine}"], folder, start, step)[0]
    return path


def apart(here: Path, there: Path) -> dict[str, float]:
    """Where two checkpoints of an engine's state differ by more than rounding."""
    a, b = engine_state(here), engine_state(there)
    assert a.keys() == b.keys()
    largest = {name: float(np.abs(a[name] - b[name]).max(initial=0)) for name in a}
    return {name: value for name, value in largest.items() if value > 2e-6}


@pytest.mark.parametrize(
    ("first", "last", "options"),
    [
        pytest.param("zero3", "zero1", RICH, id="zero3-zero1"),
        pytest.param("zero2_offload", "zero3_offload", MOMENTUM, id="zero2_offload-zero3_offload"),
        pytest.param("zero1", "zero0", RICH, id="zero1-zero0", marks=pytest.mark.slow),
        pytest.param("zero0", "zero3", MOMENTUM, id="zero0-zero3", marks=pytest.mark.slow),
        pytest.param("zero3_offload", "zero2", RICH, id="zero3_offload-zero2", marks=pytest.mark.slow),
    ],
)
def test_a_state_goes_on_under_any_engine(first: str, last: str, options: list[str], tmp_path: Path) -> None:
    whole = alone(options, tmp_path / "whole", None, STEPS)
    one = on_two(first, options, tmp_path / "one", None, 4)
    two = alone(options, tmp_path / "two", one, 8)
    three = on_two(last, options, tmp_path / "three", two, STEPS)
    assert apart(three, whole) == {}


@pytest.mark.parametrize(
    "engine", ["zero3", *(pytest.param(e, marks=pytest.mark.slow) for e in PRESETS if e != "zero3")]
)
def test_a_resumed_run_is_bit_identical(engine: str, tmp_path: Path) -> None:
    whole = on_two(engine, RICH, tmp_path / "whole", None, STEPS)
    half = on_two(engine, RICH, tmp_path / "half", None, STEPS // 2)
    resumed = on_two(engine, RICH, tmp_path / "resumed", half, STEPS)
    a, b = engine_state(whole), engine_state(resumed)
    assert a.keys() == b.keys()
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []


def test_a_dropped_gradient_leaves_nothing_and_norms_are_true() -> None:
    # The norms of these steps lie on both sides of it.
    overrides = [*MOMENTUM, "train.clip_norm=0.55"]
    reference = built([*overrides, "engine=single"], World())
    norms = []
    for step in range(6):
        advanced(reference, step + 1)
        assert reference.last is not None
        norms.append(float(reference.last.gradient_norm))
    assert min(norms) < 0.55 < max(norms)
    for plain, tested, difference, not_finite in run_ranks(dropped, 2, overrides, PRESETS)[0].values():
        assert tested == plain
        assert difference == 0.0
        assert not any(map(math.isfinite, not_finite))
        np.testing.assert_allclose(plain, norms, rtol=1e-5)


def test_frozen_and_tied_weights_and_buffers() -> None:
    for trained, loaded in run_ranks(odd_models, 2)[0]:
        assert trained <= 2e-6
        assert loaded == 0.0


def without_launcher(overrides: list[str], folder: Path) -> list[Path]:
    """One process, as started from a shell."""
    import os

    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    return [
        walked([*overrides, f"engine={engine}"], folder / engine, None, STEPS, World.detect())
        for engine in PRESETS
    ]


def test_one_process_needs_no_launcher(tmp_path: Path) -> None:
    whole = alone(RICH, tmp_path / "whole", None, STEPS)
    for path in run_ranks(without_launcher, 1, RICH, tmp_path)[0]:
        assert apart(path, whole) == {}


def test_nothing_is_printed(tmp_path: Path) -> None:
    quiet = partial(leg, [*MOMENTUM, "engine=zero3"], tmp_path / "run", None, 3)
    ranks = start_ranks(quiet, 2, output=tmp_path)
    assert ranks.exit_codes(100) == [0, 0]
    assert [(tmp_path / f"rank-{rank}.txt").read_text() for rank in range(2)] == ["", ""]
