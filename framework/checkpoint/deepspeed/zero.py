"""Checkpoints as `engine.save_checkpoint` of ZeRO 1 to 3 writes them: flat shards, one file per rank."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.checkpoint.deepspeed.content import Content
from framework.checkpoint.deepspeed.model_states import read_model_states, untrained
from framework.checkpoint.deepspeed.pickles import read_pickle
from framework.errors import CheckpointError

_OPTIMIZER_FILE = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
#: written by pipelines and mixtures of experts, whose ranks hold different parameters
_DIVIDED = ("layer_*", "expert_*", "expp_rank_*", "mp_rank_*_expert_*")
FP32 = "fp32"


def read_zero(folder: Path) -> Content:
    """Put the shards of all ranks in `folder` together.

    Raises:
        CheckpointError: a file is missing, damaged or refused, or the model was divided in other ways.
    """
    shards = [read_pickle(path)["optimizer_state_dict"] for path in _optimizer_files(folder)]
    _check_ranks(folder, shards)
    models = read_model_states(folder)
    parts: dict[str, dict[str, list[Tensor]]] = {}
    scalars: dict[str, dict[str, Any]] = {}
    stage = 3 if "fp32_flat_groups" in shards[0] else int(shards[0].get("zero_stage", 1))
    for rank, shard in enumerate(shards):
        pieces = _pieces_of_stage_3(shard, models[0]["param_shapes"], rank, len(shards))
        for name, flats, start, length in pieces if stage == 3 else _pieces(shard):
            for key, value in flats.items():
                if _is_flat(key, value):
                    parts.setdefault(name, {}).setdefault(key, []).append(value.narrow(0, start, length))
                elif value is not None:
                    scalars.setdefault(name, {})[key] = value
    shapes = {name: shape for group in models[0]["param_shapes"] for name, shape in group.items()}
    whole = {name: {key: _whole(name, own[key], shapes[name]) for key in own} for name, own in parts.items()}
    missing = sorted(shapes.keys() - whole.keys())
    if missing:
        raise CheckpointError(f"{folder}: no rank holds any of {missing[0]}")
    tensors = {name: own.pop(FP32) for name, own in whole.items()}
    return Content(
        kind=f"ZeRO stage {stage} of {len(shards)} ranks",
        step=int(models[0].get("global_steps", 0)),
        tensors={**untrained(models, tensors), **tensors},
        moments={name: {**scalars.get(name, {}), **own} for name, own in whole.items() if own},
    )


def _optimizer_files(folder: Path) -> list[Path]:
    """One file per rank, in order.

    Raises:
        CheckpointError: the model was divided in other ways than by ZeRO, or there is no such file.
    """
    found = {path: _OPTIMIZER_FILE.fullmatch(path.name) for path in sorted(folder.glob("*.pt"))}
    ranks = {int(match[1]): path for path, match in found.items() if match is not None}
    divided = [path.name for pattern in _DIVIDED for path in folder.glob(pattern)]
    divided += [path.name for path, match in found.items() if match is not None and int(match[2]) > 0]
    if divided:
        raise CheckpointError(
            f"{folder}: {divided[0]} is of a model that was divided by tensors, layers or experts; convert"
            " it by DeepSpeed's ds_to_universal first, and import the result"
        )
    if (folder / "offloaded_tensors").exists():
        raise CheckpointError(
            f"{folder}: the optimizer's state was offloaded to a disk and lies in DeepSpeed's swap files,"
            " which are not read; save it without NVMe offload"
        )
    if not ranks:
        raise CheckpointError(
            f"{folder} has no zero_pp_rank_*_optim_states.pt: it is not a checkpoint of ZeRO 1, 2 or 3"
            " (stage 0 keeps its optimizer's state by number, not by name)"
        )
    return [ranks[rank] for rank in sorted(ranks)]


def _check_ranks(folder: Path, shards: Sequence[Mapping[str, Any]]) -> None:
    count = shards[0].get("partition_count", len(shards))
    expected = max(count) if isinstance(count, list | tuple) else int(count)
    if len(shards) != expected:
        raise CheckpointError(
            f"{folder} has the optimizer files of {len(shards)} ranks, and was written by {expected}:"
            " copy all of zero_pp_rank_*_optim_states.pt"
        )


#: a parameter's name, the flat tensors of its group by key, and where its piece lies in them
Piece = tuple[str, dict[str, Any], int, int]


def _pieces(shard: Mapping[str, Any]) -> Iterator[Piece]:
    """What a rank of stages 1 and 2 holds; DeepSpeed notes the place of each piece."""
    states = shard["base_optimizer_state"]
    groups = shard["single_partition_of_fp32_groups"]
    for number, places in enumerate(shard["param_slice_mappings"]):
        flats = {FP32: groups[number], **_state(states, number)}
        for name, place in places.items():
            yield name, flats, place.start, place.numel


def _pieces_of_stage_3(
    shard: Mapping[str, Any], shapes: Sequence[Mapping[str, torch.Size]], rank: int, world_size: int
) -> Iterator[Piece]:
    """What a rank of stage 3 holds: an equal share of every parameter, the last ranks' padded."""
    states = shard["optimizer_state_dict"]
    for number, group in enumerate(shapes):
        flats = {FP32: shard["fp32_flat_groups"][number], **_state(states, number)}
        start = 0
        for name, shape in group.items():
            share = -(-shape.numel() // world_size)
            yield name, flats, start, max(0, min(share, shape.numel() - rank * share))
            start += share


def _state(optimizer: Any, number: int) -> dict[str, Any]:
    """The state of a flat tensor; a step that is counted per group (DeepSpeed's FusedAdam) belongs to it."""
    if isinstance(optimizer, list):  # an elastic checkpoint
        return dict(optimizer[number])
    state = dict(optimizer["state"].get(number, {}))
    for group in optimizer["param_groups"]:
        if state and number in group["params"] and "step" in group:
            state.setdefault("step", group["step"])
    return state


def _is_flat(key: str, value: Any) -> bool:
    return key != "step" and isinstance(value, Tensor) and value.dim() == 1


def _whole(name: str, pieces: Sequence[Tensor], shape: torch.Size) -> Tensor:
    flat = torch.cat(list(pieces))
    if flat.numel() != shape.numel():
        raise ValueError(f"the shards hold {flat.numel()} of the {shape.numel()} elements of {name}")
    return flat.reshape(shape)
