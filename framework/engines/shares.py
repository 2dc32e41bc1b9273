"""The share of each rank in writing what all ranks hold alike."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from framework.parallel.world import World
from framework.pieces import Piece


def share_out(state: dict[str, Any], parameters: Collection[str], world: World) -> dict[str, Any]:
    """A state of replicated tensors with this rank's piece of each in its place; nothing is copied.

    Buffers stay whole, and so rank 0's: statistics of normalisation layers differ between ranks. So do
    counters, which are not worth a piece.

    Args:
        state: what `TorchEngine.state_dict` gives, the same on every rank.
        parameters: the names of the model's parameters, of tied ones all names.
        world: the ranks.
    """
    made: dict[tuple[int, torch.Size], Piece] = {}

    def share(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.numel() == 0:
            return value
        # One piece for a parameter that has several names.
        place = (value.data_ptr(), value.shape)
        if place not in made:
            first, last = (value.numel() * rank // world.size for rank in (world.rank, world.rank + 1))
            made[place] = Piece(value.detach().reshape(-1)[first:last], first, value.shape)
        return made[place]

    optimizer = state["optimizer"]
    shared = {
        "model": {name: share(own) if name in parameters else own for name, own in state["model"].items()},
        "optimizer": {
            **optimizer,
            "state": {
                name: {key: share(value) for key, value in own.items()}
                for name, own in optimizer["state"].items()
            },
        },
    }
    if "ema" in state:
        shared["ema"] = {name: share(own) for name, own in state["ema"].items()}
    return {**state, **shared}
