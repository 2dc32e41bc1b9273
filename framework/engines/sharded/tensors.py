"""Whole tensors from shards, and shards of whole tensors; cut by rows, as FSDP2 does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, on every rank; every rank calls it. Others come back as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's rows of a sharded tensor, sharing its memory; others come back as they are."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> None:
    """Copy a whole `values` into `target`, of the same global shape; of a sharded one, its rows."""
    if isinstance(target, DTensor):
        parts = values.chunk(target.device_mesh.size())
        rank = target.device_mesh.get_local_rank()
        values = parts[rank] if rank < len(parts) else values[:0]
    local(target).copy_(values)


def sharded_like(values: Any, parameter: Tensor) -> Any:
    """A copy of `values` cut as `parameter` is, if it is a tensor of that shape; else `values` itself."""
    if not isinstance(values, Tensor) or values.shape != parameter.shape:
        return values
    shards = torch.empty_like(parameter, dtype=values.dtype, requires_grad=False)
    fill(shards, values)
    return shards


def on_host(tree: Any, *, keep: bool) -> Any:
    """A tree of dictionaries, lists and tuples with every tensor whole and in host memory.

    One tensor is whole at a time. Every rank calls it with a tree of the same form; where `keep` is
    false, dictionaries come back without their tensors, and lists with None in place of them.
    """
    if isinstance(tree, Tensor):
        values = whole(tree.detach())
        return values.cpu() if keep else None
    if isinstance(tree, dict):
        on_hosts = {key: on_host(value, keep=keep) for key, value in tree.items()}
        return {key: on_hosts[key] for key, value in tree.items() if keep or not isinstance(value, Tensor)}
    if isinstance(tree, list | tuple):
        return type(tree)(on_host(value, keep=keep) for value in tree)
    return tree
