"""Tensors of a state that no process holds, or reads, as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """What this rank holds of a tensor that is spread over the ranks: a range of its elements.

    It stands in a state tree in place of the whole tensor. Every rank's tree has one in that place, an
    empty one where the rank holds nothing. Where two places are one tensor, one object stands in both.

    Attributes:
        values: the elements, in any shape.
        start: number of the first of them in the whole tensor, counted in row-major order.
        shape: of the whole tensor.
    """

    values: Tensor
    start: int
    shape: torch.Size


class Stored(ABC):
    """A whole tensor that is on the disk, and read as far as it is asked for.

    Attributes:
        shape: of the whole tensor.
        dtype: of its elements.
    """

    shape: torch.Size
    dtype: torch.dtype

    @abstractmethod
    def read(self, start: int, length: int) -> Tensor:
        """`length` elements from number `start` in row-major order, (length,), in memory of their own."""


def is_values(value: Any) -> bool:
    """Whether `value` is a whole tensor, in memory or stored."""
    return isinstance(value, Tensor | Stored)


def elements(values: Tensor | Stored, start: int, length: int) -> Tensor:
    """`length` elements of a whole tensor from number `start` in row-major order, (length,)."""
    if isinstance(values, Stored):
        return values.read(start, length)
    return values.reshape(-1).narrow(0, start, length)


def whole(values: Tensor | Stored) -> Tensor:
    """All of a tensor, in its shape."""
    if isinstance(values, Stored):
        return values.read(0, values.shape.numel()).reshape(values.shape)
    return values


def in_memory(tree: Any) -> Any:
    """A tree of dictionaries and lists with every stored tensor read whole."""
    if isinstance(tree, dict):
        return {key: in_memory(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [in_memory(value) for value in tree]
    return whole(tree) if is_values(tree) else tree
