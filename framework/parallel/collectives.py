"""The only collectives outside the engines: of samples, of sums, and of what rank 0 decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from framework.errors import UserError
from framework.parallel.world import World

T = TypeVar("T")


def gather_rows(columns: dict[str, Tensor], world: World) -> dict[str, Tensor]:
    """Every rank's rows, rank after rank: (rows,) per column in, (size * rows,) out, the same on all.

    All columns travel in one message, as float64: exact for float32, for booleans and for integers below
    2 ** 53. Every rank must bring the same number of rows.
    """
    if world.size == 1:
        return columns
    packed = torch.stack([column.to(torch.float64) for column in columns.values()])
    gathered = packed.new_empty((world.size, *packed.shape))
    distributed.all_gather(list(gathered.unbind()), packed)
    rows = gathered.transpose(0, 1).reshape(len(columns), -1)
    return {name: row.to(column.dtype) for (name, column), row in zip(columns.items(), rows, strict=True)}


def all_sum(values: Tensor, world: World) -> Tensor:
    """The elementwise sum over the ranks, the same on all."""
    if world.size == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total


def any_rank(flag: bool, world: World) -> bool:
    """Whether `flag` is set on any rank."""
    if world.size == 1:
        return flag
    votes = torch.tensor(float(flag))
    distributed.all_reduce(votes, op=distributed.ReduceOp.MAX)
    return bool(votes)


def all_items(items: list[T], world: World) -> list[T]:
    """The items of every rank, rank after rank, the same on all; costs one flag where there are none."""
    if world.size == 1 or not any_rank(bool(items), world):
        return items
    lists: list[Any] = [None] * world.size
    distributed.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def smallest(value: float, world: World) -> float:
    """The least `value` of all ranks, the same on all."""
    if world.size == 1:
        return value
    least = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(least, op=distributed.ReduceOp.MIN)
    return float(least)


def from_main(value: Any, world: World) -> Any:
    """What rank 0 has for `value`, on every rank. For set-up and checkpoints, not for the step."""
    if world.size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def on_main(call: Callable[[], T], world: World) -> T:
    """What `call` gives on rank 0, on every rank; it runs on rank 0 alone.

    Raises:
        UserError: rank 0's, on every rank, so that all end the same way; `shared` on the others.
    """
    value: T | None = None
    error: UserError | None = None
    if world.is_main:
        try:
            value = call()
        except UserError as raised:
            if world.size == 1:
                raise
            error = raised
    value, error = from_main((value, error), world)
    if error is not None:
        error.shared = not world.is_main
        raise error
    return cast("T", value)
