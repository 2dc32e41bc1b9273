"""Whole tensors by name, as a checkpoint gives them, brought to where an engine keeps its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from framework.errors import CheckpointError
from framework.pieces import whole


def check(saved: Mapping[str, Any], expected: Mapping[str, Any], kind: str) -> None:
    """Refuse other names or shapes than an engine's.

    Args:
        saved: whole tensors, in memory or stored.
        expected: the engine's own; sharded ones with the whole tensor's `shape` or DeepSpeed's `ds_shape`.
        kind: what they are, for the message: `model` or `average`.

    Raises:
        CheckpointError: naming what differs first.
    """
    differing = sorted(saved.keys() ^ expected.keys())
    if differing:
        raise CheckpointError(
            f"the checkpoint's {kind} is another one: it differs in {len(differing)} tensors,"
            f" the first is {differing[0]}"
        )
    for name, own in expected.items():
        shape = tuple(getattr(own, "ds_shape", own.shape))
        if tuple(saved[name].shape) != shape:
            raise CheckpointError(
                f"the checkpoint's {kind} is another one: {name} has shape {tuple(saved[name].shape)} there,"
                f" {shape} here"
            )


def load(
    saved: Mapping[str, Any],
    targets: Mapping[str, Tensor],
    kind: str,
    fill: Callable[[Tensor, Any], None] | None = None,
) -> None:
    """Fill every target with the saved values of its name, one at a time.

    Args:
        saved: whole tensors, in memory or stored.
        targets: by name; a sharded one has the whole tensor's shape.
        kind: what they are, for the message.
        fill: fills one target; by default it takes all values.

    Raises:
        CheckpointError: names or shapes differ.
    """
    check(saved, targets, kind)
    for name, target in targets.items():
        (fill or _copy)(target, saved[name])


@torch.no_grad()
def _copy(target: Tensor, values: Any) -> None:
    target.copy_(whole(values))
