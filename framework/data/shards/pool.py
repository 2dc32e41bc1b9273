"""A function over many items in background processes, results in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from framework.errors import DataError, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Tasks(TorchDataset[Any], Generic[Item, Result]):
    """Computes the result of an item; a user's error is handed over as a value."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Result | UserError:
        try:
            return self.function(self.items[number])
        except UserError as error:
            return error


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result | UserError]:
    """`function` of every item, in order, on `workers` processes (0: in this one).

    Raises:
        DataError: a background process died.
    """
    # torch's loader is the pool: it limits threads, stops with this process, and says when one dies
    loader = DataLoader(
        _Tasks(function, items),
        batch_size=None,
        num_workers=min(workers, len(items)),
        collate_fn=_unchanged,
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if str(error).startswith("Caught "):
            raise
        raise DataError(f"a background process died: {error}; use fewer workers to save memory") from error


def _unchanged(result: Any) -> Any:
    return result
