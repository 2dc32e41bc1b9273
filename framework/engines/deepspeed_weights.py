"""Single weights of a model under ZeRO: whole for a moment, or this rank's piece of what no shard holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from framework.parallel.world import World
from framework.pieces import Piece


def whole_copy(weight: Any) -> Tensor:
    """A copy of all of a parameter of stage 3, or a buffer as it is. Collective."""
    if not hasattr(weight, "ds_id"):
        return weight.detach()  # type: ignore[no-any-return]
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([weight]):
        return weight.detach().clone()  # type: ignore[no-any-return]


def unsharded(weight: Any, world: World) -> Tensor | Piece:
    """A buffer or a frozen parameter: as it is, or under stage 3 this rank's piece of it."""
    if not hasattr(weight, "ds_id"):
        return weight.detach()  # type: ignore[no-any-return]
    own = weight.ds_tensor.detach()
    start = min(world.rank * own.numel(), weight.ds_numel)
    # The last rank's part is padded.
    length = min(own.numel(), weight.ds_numel - start)
    return Piece(own.reshape(-1).narrow(0, 0, length), start, torch.Size(weight.ds_shape))


@contextmanager
def gathered_for_writing(weight: Any) -> Iterator[None]:
    """Inside, all of a parameter of stage 3 may be written; what rank 0 wrote holds. Collective."""
    if not hasattr(weight, "ds_id"):
        yield
        return
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([weight], modifier_rank=0):
        yield
