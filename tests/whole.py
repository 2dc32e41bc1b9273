"""The state of an engine, whole on every rank: what a checkpoint would be put together to."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from framework.engines.base import Engine
from framework.pieces import Piece


def whole_state(engine: Engine) -> dict[str, Any]:
    """A copy of `engine.state_dict()` with every tensor whole; all ranks call it."""
    trees = [engine.state_dict()]
    if engine.world.size > 1:
        trees *= engine.world.size
        distributed.all_gather_object(trees, engine.state_dict())
    state: dict[str, Any] = _joined(trees)
    return state


def _joined(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, Piece):
        values = first.values.new_empty(first.shape.numel())
        count = 0
        for piece in trees:
            assert piece.shape == first.shape
            size = piece.values.numel()
            values[piece.start : piece.start + size] = piece.values.reshape(-1)
            count += size
        assert count == values.numel(), "each element lies on one rank"
        return values.view(first.shape)
    if isinstance(first, dict):
        assert all(tree.keys() == first.keys() for tree in trees)
        return {key: _joined([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        return [_joined(list(items)) for items in zip(*trees, strict=True)]
    return first.detach().clone() if isinstance(first, torch.Tensor) else first
