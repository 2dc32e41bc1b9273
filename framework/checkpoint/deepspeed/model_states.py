"""The files of a DeepSpeed checkpoint beside the optimizer's: counters, buffers, what was not trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.checkpoint.deepspeed.pickles import read_pickle
from framework.errors import CheckpointError


def read_model_states(folder: Path) -> list[dict[str, Any]]:
    """The model's files, in the order of ranks; stages 1 and 2 have one for all of them.

    Raises:
        CheckpointError: there is none, or one is damaged or refused.
    """
    paths = sorted(folder.glob("mp_rank_00_model_states.pt"))
    if not paths:
        paths = sorted(folder.glob("zero_pp_rank_*_mp_rank_00_model_states.pt"), key=_rank)
    if not paths:
        raise CheckpointError(f"{folder} has no *mp_rank_00_model_states.pt")
    models = [read_pickle(path) for path in paths]
    count = 1 if paths[0].name.startswith("mp_") else models[0].get("dp_world_size", len(paths))
    if [_rank(path) for path in paths] != list(range(count)):
        raise CheckpointError(f"{folder}: the model_states file of a rank is missing: copy all of them")
    return models


def untrained(models: Sequence[Mapping[str, Any]], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Buffers, frozen parameters, and further names of tied ones; statistics are those of rank 0.

    Args:
        models: what `read_model_states` gave.
        trained: whole trained parameters by name.
    """
    first = models[0]
    # Under stage 3 a parameter is an empty tensor there.
    held: dict[str, Tensor] = {
        name: value
        for name, value in (first.get("module") or {}).items()
        if name not in trained and (value.numel() or name in (first.get("buffer_names") or ()))
    }
    for name, shape in (first.get("frozen_param_shapes") or {}).items():
        if name not in held:
            shares = [model["frozen_param_fragments"][name].reshape(-1) for model in models]
            held[name] = torch.cat(shares)[: shape.numel()].reshape(shape)
    shared: Any = first.get("shared_params") or {}
    for name, other in shared.items() if isinstance(shared, dict) else shared:
        if other in trained:
            held[name] = trained[other]
    return held


def _rank(path: Path) -> int:
    words = path.name.split("_")
    return int(words[3]) if words[0] == "zero" else 0
