"""A policy's state as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: with more groups than this a record holds a summary of the state instead of every value
MAX_GROUPS = 64
NUM_TOP = 8


def policy_record(
    numbers: Mapping[str, Tensor], names: Sequence[str], step: int, epoch: int
) -> dict[str, Any]:
    """The `policy` record of `policy.numbers()`, whose tensors are scalars or (groups,).

    `q` of a few groups becomes ``"q": {group name: value}``; of many, ``"q_summary": {"groups", "min",
    "max", "entropy", "top": {group name: value}}``: the entropy (in nats) is that of the values scaled
    to sum to one, `top` holds the largest ones. Groups are named by number where `names` is of another
    length, as with one group per sample. The device is waited for once.
    """
    record: dict[str, Any] = {"event": "policy", "step": step, "epoch": epoch}
    pieces = {name: _numbers_to_fetch(name, tensor.detach()) for name, tensor in numbers.items()}
    if not pieces:
        return record
    fetched = iter(torch.cat(list(pieces.values())).tolist())
    for name, tensor in numbers.items():
        size = tensor.numel()
        values = [next(fetched) for _ in range(len(pieces[name]))]
        if tensor.dim() == 0:
            record[name] = values[0]
        elif size <= MAX_GROUPS:
            record[name] = {_label(names, size, group): value for group, value in enumerate(values)}
        else:
            smallest, largest, entropy, *top = values
            record[f"{name}_summary"] = {
                "groups": size,
                "min": smallest,
                "max": largest,
                "entropy": entropy,
                "top": {
                    _label(names, size, int(group)): value
                    for value, group in zip(top[:NUM_TOP], top[NUM_TOP:], strict=True)
                },
            }
    return record


def _numbers_to_fetch(name: str, tensor: Tensor) -> Tensor:
    """(numbers,) float64: all values, or of many groups min, max, entropy, the top values, their groups."""
    assert tensor.dim() <= 1, f"policy number '{name}' must be a scalar or (groups,)"
    values = tensor.to(torch.float64).reshape(-1)
    if len(values) <= MAX_GROUPS:
        return values
    top = values.topk(NUM_TOP)
    entropy = torch.special.entr(values / values.sum()).sum()
    return torch.cat(
        [torch.stack([values.min(), values.max(), entropy]), top.values, top.indices.to(torch.float64)]
    )


def _label(names: Sequence[str], size: int, group: int) -> str:
    return names[group] if len(names) == size else str(group)
