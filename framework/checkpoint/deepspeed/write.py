"""A run's checkpoint as a universal checkpoint of DeepSpeed, written without DeepSpeed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.deepspeed.read import LATEST_UNIVERSAL
from framework.checkpoint.deepspeed.universal import OPTIMIZER, PARAMETERS
from framework.checkpoint.deepspeed.zero import FP32
from framework.checkpoint.export import find_checkpoint
from framework.checkpoint.names import BEST
from framework.errors import CheckpointError
from framework.files import replace_text, sync_folder
from framework.optim.optimistic import LOOKAHEAD
from framework.pieces import Stored, in_memory, whole

#: whose AdamW goes on: torch's counts its steps in a tensor, DeepSpeed's own in an integer
Counter = Literal["torch", "deepspeed"]
#: the version of DeepSpeed whose reader the files are for
VERSION = "0.19.8"
#: DeepSpeed reads as many parameter groups as this list has entries, and leaves further ones as they are
_MOST_GROUPS = 1024


def export_deepspeed(run_dir: Path, out: Path, which: str = BEST, counter: Counter = "torch") -> Path:
    """Write weights, the optimizer's moments and its step, for an engine with `load_universal`.

    Weights are those that are trained, not their average. Each tensor is read and written in its turn.
    Options of the optimizer, the learning rate among them, are not written: they are the script's own.

    Args:
        run_dir: the run folder.
        out: the folder that `engine.load_checkpoint` is to be given; it may hold other checkpoints.
        which: as for `export`.
        counter: whose optimizer goes on.

    Returns:
        The folder of the checkpoint, in `out`.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, ZeRO could not go on from it, or the
            folder cannot be written.
    """
    checkpoint = find_checkpoint(run_dir, which)
    folder = out / f"global_step{checkpoint.step}_universal"
    if folder.exists():
        raise CheckpointError(f"{folder} is there already; delete it, or export to another folder")
    temporary = out / f"{folder.name}.tmp-{os.getpid()}"
    try:
        (temporary / PARAMETERS).mkdir(parents=True)
        _write(checkpoint, temporary, counter)
        temporary.rename(folder)
        sync_folder(out)
        replace_text(out / LATEST_UNIVERSAL, folder.name)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(checkpoint: Checkpoint, folder: Path, counter: Counter) -> None:
    engine: dict[str, Any] = checkpoint.parts.stored("engine")
    model: dict[str, Stored] = engine["model"]
    states: dict[str, dict[str, Any]] = engine["optimizer"]["state"]
    trained = [name for group in engine["optimizer"]["groups"] for name in group["parameters"]]
    step = _common_step(states)
    count = torch.tensor(step, dtype=torch.float32) if counter == "torch" else int(step)
    keys = _moments(states, model)
    for name in trained:
        own = states.get(name, {})
        values: dict[str, Tensor] = {FP32: whole(model[name]).float()}
        # A parameter without an entry had no gradient yet.
        values |= {key: whole(own[key]) if key in own else torch.zeros(model[name].shape) for key in keys}
        parameter = folder / PARAMETERS / name
        parameter.mkdir(parents=True)
        for key, value in values.items():
            _save(parameter / f"{key}.pt", {"param": value})
        _save(parameter / "step.pt", count)
    # Each stage has a place of its own for what concerns all parameters.
    optimizer = {
        "ds_version": VERSION,
        "param_groups": [{}] * _MOST_GROUPS,
        "optimizer_state_dict": {"state": {0: {"step": count}}, "param_groups": [{}]},
    }
    _save(folder / PARAMETERS / OPTIMIZER, optimizer)
    written = {id(model[name]) for name in trained}
    untrained = {name: whole(value) for name, value in model.items() if id(value) not in written}
    states_of_model = {
        "module": untrained,
        # DeepSpeed hands on what it does not know, so a script finds there what it does not load itself.
        "untrained": untrained,
        "buffer_names": list(untrained),
        "global_steps": checkpoint.step,
        "global_samples": checkpoint.parts["progress"]["samples"],
        "skipped_steps": 0,
        "lr_scheduler": {"last_batch_iteration": checkpoint.step - 1},
        "dp_world_size": 1,
        "mp_world_size": 1,
        "ds_version": VERSION,
    }
    # Stage 3 looks for the second name.
    for file in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"):
        _save(folder / file, states_of_model)


def _common_step(states: Mapping[str, Mapping[str, Any]]) -> float:
    """The one step of all parameters.

    Raises:
        CheckpointError: there is none, or not one: ZeRO counts for all parameters of a group.
    """
    steps = {name: float(in_memory(own["step"])) for name, own in states.items() if "step" in own}
    if not steps:
        raise CheckpointError(
            "the checkpoint has no moments with a step count, which DeepSpeed's universal checkpoints need"
            " (Adam and its relatives keep them); export the weights alone, without --deepspeed"
        )
    least, most = min(steps, key=lambda name: steps[name]), max(steps, key=lambda name: steps[name])
    if steps[least] != steps[most]:
        raise CheckpointError(
            f"{least} was moved in {steps[least]:g} steps and {most} in {steps[most]:g}; ZeRO keeps one count"
            " for all parameters of a group, so it could not go on from here"
        )
    return steps[least]


def _moments(states: Mapping[str, Mapping[str, Any]], model: Mapping[str, Stored]) -> list[str]:
    """The optimizer's tensors beside the step; a point ahead is no affair of another trainer.

    Raises:
        CheckpointError: one of them has not one number per element, as ZeRO's flat tensors need it.
    """
    keys: dict[str, None] = {}
    for name, own in states.items():
        for key in own.keys() - {"step", LOOKAHEAD}:
            if getattr(own[key], "shape", None) != model[name].shape:
                raise CheckpointError(
                    f"the optimizer keeps {key} of {name}, which is not one number per element: DeepSpeed's"
                    " universal checkpoints have no place for it"
                )
            keys[key] = None
    return sorted(keys)


def _save(path: Path, content: Any) -> None:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
