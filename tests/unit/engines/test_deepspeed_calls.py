"""What the ZeRO engines use of DeepSpeed's insides is there; its traps are as they are guarded against."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("deepspeed", reason="deepspeed is not installed")

from deepspeed.runtime.constants import GRADIENT_CLIPPING_DEFAULT
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.zero.parameter_offload import DeepSpeedZeRoOffload
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID, DeepSpeedZeroOptimizer

from tests.distributed import run_ranks
from tests.tiny import assembled


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            DeepSpeedZeroOptimizer,
            ["zero_grad", "scaled_global_norm", "update_lp_params", "reset_cpu_buffers", "step"],
        ),
        (
            DeepSpeedZeroOptimizer_Stage3,
            [
                "zero_grad",
                "_get_norm_groups",
                "_partition_all_parameters",
                "_reassign_or_swap_out_partitioned_parameters",
                "get_param_id",
                "reset_cpu_buffers",
                "step",
            ],
        ),
        (DeepSpeedEngine, ["set_gradient_accumulation_boundary", "backward", "step"]),
        (DeepSpeedZeRoOffload, ["partition_all_parameters"]),
    ],
)
def test_private_calls_exist(owner: type, names: list[str]) -> None:
    assert [name for name in names if not callable(getattr(owner, name, None))] == []


def test_an_accumulation_starts_at_minus_one() -> None:
    assert INITIAL_MICRO_STEP_ID == -1


def test_clipping_is_on_where_nothing_is_said() -> None:
    assert GRADIENT_CLIPPING_DEFAULT == 1.0


def inspected(folder: Path) -> dict[str, object]:
    """What an assembled run of each stage has inside."""
    from deepspeed.ops import __compatible_ops__ as compatible

    linear = torch.nn.functional.linear
    found: dict[str, object] = {}
    for stage in range(4):
        run = assembled(folder, [f"engine=zero{stage}", "train.weight_decay_on=matrices"])
        parallel = run.engine.parallel  # type: ignore[attr-defined]
        found[f"clipping {stage}"] = parallel.gradient_clipping()
        found[f"scheduler {stage}"] = parallel.lr_scheduler
        inner = parallel.optimizer if stage == 0 else parallel.optimizer.optimizer
        found[f"same optimizer {stage}"] = inner is run.engine.optimizer
        calls = 0
        step = run.engine.optimizer.step

        def counted(*args: object, step: object = step) -> None:
            nonlocal calls
            calls += 1
            step()  # type: ignore[operator]

        run.engine.optimizer.step = counted  # type: ignore[method-assign, assignment]
        measured: list[object] = []
        parallel.optimizer.get_grad_norm_direct = measured.append
        result = run.step(next(run.loader))
        found[f"calls {stage}"] = calls
        if stage:
            told = float(parallel.get_global_grad_norm())
            found[f"norm {stage}"] = (measured, told == float(result.gradient_norm) > 0)
    found["linear"] = torch.nn.functional.linear is linear
    found["built"] = compatible["deepspeed_shm_comm"]
    return found


def test_what_a_stage_has_inside(tmp_path: Path) -> None:
    found = run_ranks(inspected, 1, tmp_path)[0]
    for stage in range(4):
        assert found[f"clipping {stage}"] == 0.0
        assert found[f"scheduler {stage}"] is None
        assert found[f"same optimizer {stage}"] is True
    # once per parameter group (stages 1, 2) or part of one (stage 3)
    assert [found[f"calls {stage}"] for stage in range(4)] == [1, 2, 2, 2]
    # DeepSpeed clips by the norm that it is told, and does not measure it again
    assert [found[f"norm {stage}"] for stage in (1, 2, 3)] == [([], True)] * 3
    assert found["linear"] is True
    assert found["built"] is False


def refused(folder: Path) -> str:
    from framework.errors import ConfigError

    try:
        assembled(folder, ["engine=zero2", "engine.deepspeed={zero_optimization: {overlap_com: false}}"])
    except ConfigError as error:
        return str(error)
    return ""


def test_an_unknown_key_inside_a_section_is_refused(tmp_path: Path) -> None:
    assert "overlap_com" in run_ranks(refused, 1, tmp_path)[0]
