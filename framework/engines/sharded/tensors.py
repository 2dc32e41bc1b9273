"""Whole tensors from shards, and shards of whole tensors; cut by rows, as FSDP2 does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from framework.pieces import Piece, Stored, elements, is_values, whole


def full(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, on every rank; every rank calls it. Others come back as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's rows of a sharded tensor, sharing its memory; others come back as they are."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(target: Tensor, values: Tensor | Stored) -> None:
    """Copy a whole `values` into `target`, of the same global shape; of a sharded one, its rows."""
    own = local(target)
    if isinstance(target, DTensor):
        own.copy_(elements(values, _start(target), own.numel()).view(own.shape))
    else:
        own.copy_(whole(values))


def sharded_like(values: Any, parameter: Tensor) -> Any:
    """A copy of `values` cut as `parameter` is, if it is a tensor of that shape; else all of `values`."""
    if not is_values(values):
        return values
    if values.shape != parameter.shape:
        return whole(values)
    shards = torch.empty_like(parameter, dtype=values.dtype, requires_grad=False)
    fill(shards, values)
    return shards


def in_pieces(tree: Any) -> Any:
    """A tree of dictionaries and lists with this rank's piece in place of every sharded tensor."""
    return _in_pieces(tree, {})


def _in_pieces(tree: Any, made: dict[int, Piece]) -> Any:
    if isinstance(tree, dict):
        return {key: _in_pieces(value, made) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_in_pieces(value, made) for value in tree]
    if isinstance(tree, DTensor):
        # One piece for a parameter that has several names.
        if id(tree) not in made:
            made[id(tree)] = Piece(tree.to_local().detach(), _start(tree), tree.shape)
        return made[id(tree)]
    return tree


def _start(tensor: DTensor) -> int:
    """The number of this rank's first element in the whole tensor."""
    assert tensor.placements == (Shard(0),)
    rows = tensor.shape[0]
    if rows == 0:
        return 0
    # Every rank has as many rows as the first one, until there are none left.
    share = -(-rows // tensor.device_mesh.size())
    first = min(tensor.device_mesh.get_local_rank() * share, rows)
    return first * (tensor.numel() // rows)
