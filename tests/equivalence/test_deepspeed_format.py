"""Checkpoints of scripts with DeepSpeed alone come in, and ours go out, on the same curve."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from framework.__main__ import main
from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.deepspeed.read import read_deepspeed
from framework.checkpoint.deepspeed.write import export_deepspeed
from framework.errors import CheckpointError
from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.equivalence.bare_deepspeed import LAYOUTS, MOMENTS, RATE, Script, layouts, scripts
from tests.equivalence.portable_cases import legs, walk
from tests.equivalence.test_portable import newest
from tests.equivalence.zero_cases import COMMON
from tests.tiny import write

pytest.importorskip("deepspeed", reason="deepspeed is not installed")

ALL = [f"optimizer={{name: adamw, lr: {RATE}}}", "train.clip_norm=null"]
MATRICES = [*ALL, "train.weight_decay_on=matrices"]
#: of two groups ZeRO-3 would advance the one step counter twice, see docs/resume.md
STAGES = {1: MATRICES, 3: ALL}
HALF, END = 3, 6


class Scripts(NamedTuple):
    """What scripts with DeepSpeed alone left, on two processes."""

    folder: Path
    ends: dict[int, dict[str, dict[str, np.ndarray]]]
    continued: dict[int, dict[str, dict[str, np.ndarray]]]
    whole: dict[int, Path]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Scripts:
    folder = tmp_path_factory.mktemp("bare")
    todo: list[Script] = []
    whole = {}
    for stage, options in STAGES.items():
        store = folder / f"ours{stage}"
        half = walk(options, None, HALF, "single", store / "half", World())
        whole[stage] = walk(options, None, END, "single", store / "whole", World())
        export_deepspeed(store, folder / f"exported{stage}", str(half))
        todo.append((options, stage, None, HALF, folder / f"zero{stage}", END))
        todo.append((options, stage, folder / f"exported{stage}", HALF, None, END))
    results = run_ranks(scripts, 2, todo, folder / "odd", timeout=280)[0]
    ends, continued = (dict(zip(STAGES, results[first::2], strict=True)) for first in (0, 1))
    return Scripts(folder, ends, continued, whole)


def imported(source: Path, options: list[str], folder: Path, *words: str) -> Path:
    conf = f"conf={write(folder)}"
    assert main(["import", str(source), conf, *COMMON, *options, "--out", f"{folder}/in", *words]) == 0
    return newest(folder / "in")


def apart(checkpoint: Path, end: dict[str, dict[str, np.ndarray]]) -> float:
    """The largest difference of a parameter or a moment."""
    engine = open_checkpoint(checkpoint).parts["engine"]
    assert engine["model"].keys() == end.keys()
    differences = []
    for name, own in end.items():
        state = engine["optimizer"]["state"][name]
        assert float(state["step"]) == END
        ours = {"fp32": engine["model"][name], **{key: state[key] for key in MOMENTS}}
        differences += [float(np.abs(ours[key].numpy() - own[key]).max()) for key in ours]
    return max(differences)


def test_a_script_of_zero_1_goes_on_here(bare: Scripts, tmp_path: Path) -> None:
    start = imported(bare.folder / "zero1", STAGES[1], tmp_path, "--step", str(HALF))
    assert start.name == "step-00000003"
    assert apart(walk(STAGES[1], start, END, "single", tmp_path / "end", World()), bare.ends[1]) < 2e-6


def test_a_script_of_zero_3_goes_on_here(bare: Scripts, tmp_path: Path) -> None:
    start = imported(bare.folder / "zero3", STAGES[3], tmp_path, "--step", str(HALF))
    run_ranks(legs, 2, STAGES[3], [(start, END, "fsdp", tmp_path / "end")])
    assert apart(newest(tmp_path / "end"), bare.ends[3]) < 2e-6


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_in_a_script(bare: Scripts, stage: int) -> None:
    assert apart(bare.whole[stage], bare.continued[stage]) < 2e-6


@pytest.mark.parametrize(
    ("stage", "lost", "expected"),
    [
        (1, "zero_pp_rank_1_mp_rank_00_optim_states.pt", "of 1 ranks, and was written by 2"),
        (1, "mp_rank_00_model_states.pt", "has no *mp_rank_00_model_states.pt"),
        (3, "zero_pp_rank_0_mp_rank_00_optim_states.pt", "of 1 ranks, and was written by 2"),
        (3, "zero_pp_rank_0_mp_rank_00_model_states.pt", "model_states file of a rank is missing"),
        (3, "zero_pp_rank_1_mp_rank_00_model_states.pt", "model_states file of a rank is missing"),
    ],
)
def test_a_missing_file_is_told(bare: Scripts, stage: int, lost: str, expected: str, tmp_path: Path) -> None:
    shutil.copytree(bare.folder / "odd" / str(stage) / "two", tmp_path / "two")
    (tmp_path / "two" / lost).unlink()
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        read_deepspeed(tmp_path / "two")


def test_another_layout_is_told(bare: Scripts, tmp_path: Path) -> None:
    shutil.copytree(bare.folder / "odd" / "1" / "two", tmp_path / "two")
    older = {"partition_count": [2], "base_optimizer_state": {}, "single_partition_of_fp32_groups": []}
    for path in (tmp_path / "two").glob("*_optim_states.pt"):
        torch.save({"optimizer_state_dict": older}, path)
    with pytest.raises(CheckpointError, match=r"layout of DeepSpeed's checkpoints.*param_slice"):
        read_deepspeed(tmp_path / "two")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("tag", ["two", "universal"])
def test_frozen_tied_and_buffers_are_read(bare: Scripts, stage: int, tag: str) -> None:
    folder = bare.folder / "odd" / str(stage)
    right = torch.load(folder / "whole.pt", weights_only=True)
    content = read_deepspeed(folder, tag)
    assert content.step == 2
    assert content.tensors.keys() == right["plain"].keys()
    expected = {name: own["fp32"] for name, own in right["trained"].items()} | right["buffers"]
    expected["two.weight"] = expected["one.weight"]
    expected |= {name: right["plain"][name] for name in ("frozen.weight", "frozen.bias")}
    for name, value in expected.items():
        assert torch.equal(content.tensors[name].flatten(), value.flatten().to(content.tensors[name])), name
    for name, own in right["trained"].items():
        assert float(content.moments[name]["step"]) == 2
        for key in MOMENTS:
            assert torch.equal(content.moments[name][key].flatten(), own[key].flatten()), (name, key)
    assert right["trained"].keys() == content.moments.keys()


@pytest.mark.slow
def test_every_layout_is_read(tmp_path: Path) -> None:
    run_ranks(layouts, 3, tmp_path, timeout=280)
    for name in LAYOUTS:
        content = read_deepspeed(tmp_path / name)
        right = torch.load(tmp_path / name / "whole.pt", weights_only=True)
        assert content.kind == f"ZeRO stage {LAYOUTS[name]['zero_optimization']['stage']} of 3 ranks"
        assert content.moments.keys() == right.keys()
        for parameter, own in right.items():
            found = {"fp32": content.tensors[parameter], **content.moments[parameter]}
            assert float(found["step"]) == 2
            assert all(torch.equal(found[key], own[key]) for key in own), (name, parameter)
