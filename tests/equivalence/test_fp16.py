"""Half precision under every engine: the scale cancels, an overflow leaves no trace, weights are fp32."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.checkpoint.store import CheckpointStore
from tests.distributed import run_ranks
from tests.equivalence.fp16_cases import OPTIONS, cancelled, overflowed, resumed, small_updates
from tests.equivalence.zero_cases import engine_state

HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
ENGINES = ["ddp", "fsdp", *(["zero1", "zero3"] if HAS_DEEPSPEED else [])]
ALL = [*ENGINES, *(["zero0", "zero2"] if HAS_DEEPSPEED else [])]


def test_the_scale_cancels_to_the_last_bit() -> None:
    found = run_ranks(cancelled, 2, ENGINES)[0]
    for engine in ENGINES:
        # A scale that is left in the gradient is noticed.
        mutated = found[engine].pop("mutated", None)
        assert mutated is None or mutated != [], engine
        assert found[engine] == {name: [] for name in found[engine]}, engine
    assert found["ddp"].keys() == OPTIONS.keys()


def test_an_overflow_on_one_rank_is_skipped_by_all_and_halves_the_scale() -> None:
    expected = {"moved": [], "skipped": True, "scale": 128.0, "counted": 0, "goes on": True}
    for seen in run_ranks(overflowed, 2, ENGINES):
        assert seen == dict.fromkeys(ENGINES, expected)


def test_a_resumed_run_has_the_same_scale_and_numbers(tmp_path: Path) -> None:
    engines = [engine for engine in ENGINES if engine in ("fsdp", "zero3")]
    run_ranks(resumed, 2, engines, tmp_path)
    for engine in engines:
        whole, half, again = (
            engine_state(CheckpointStore(tmp_path / engine / name).newest() or tmp_path)
            for name in ("whole", "half", "resumed")
        )
        assert (half["/scaler/scale"], half["/scaler/good_steps"]) == (1024, 3)
        assert (whole["/scaler/scale"], whole["/scaler/good_steps"]) == (2048, 2)
        assert whole.keys() == again.keys()
        assert [name for name in whole if not np.array_equal(whole[name], again[name])] == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_updates_below_the_resolution_of_half_precision_survive(precision: str) -> None:
    half = torch.bfloat16 if precision == "bf16" else torch.float16
    assert torch.tensor(1 - 1e-4).to(half) == 1
    for engine, weights in run_ranks(small_updates, 2, ALL, precision)[0].items():
        np.testing.assert_allclose(weights, 1 - 1e-3, rtol=0, atol=1e-6, err_msg=engine)
