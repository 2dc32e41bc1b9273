"""The state of an optimizer on flat shards, by parameter name: the form every engine writes and reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework.engines.deepspeed_shards import Shards
from framework.engines.optimizer_state import restored_options
from framework.errors import CheckpointError
from framework.optim.optimistic import LOOKAHEAD
from framework.pieces import in_memory, is_values

#: names of the parameters in each group, in the order the optimizer was given them
Groups = list[list[str]]


def by_name(optimizer: torch.optim.Optimizer, shards: Shards, groups: Groups) -> dict[str, Any]:
    """What `optimizer_state.by_name` gives without shards, with this rank's pieces of the tensors."""
    states: dict[str, dict[str, Any]] = {}
    for flat, members in zip(shards.flats, shards.members, strict=True):
        for key, value in optimizer.state.get(flat, {}).items():
            elementwise = isinstance(value, Tensor) and value.shape == flat.shape
            for name in members:
                own = shards.piece(name, value) if elementwise else _copy(value)
                states.setdefault(name, {})[key] = own
    options = [
        {**{k: v for k, v in group.items() if k != "params"}, "parameters": names}
        for group, names in zip(optimizer.param_groups, groups, strict=True)
    ]
    return {"state": states, "groups": options}


def scatter(optimizer: torch.optim.Optimizer, shards: Shards, groups: Groups, state: dict[str, Any]) -> None:
    """Take over a `state` of whole tensors; the flat parameters must have their new values already.

    Raises:
        CheckpointError: the state is of another optimizer, or its parameters differ in what ZeRO keeps once.
    """
    saved = in_memory(state["groups"])
    options = restored_options(optimizer.defaults, optimizer.param_groups, groups, saved)
    known = {name for names in groups for name in names}
    unknown = sorted(set(state["state"]) - known)
    if unknown:
        raise CheckpointError(f"the checkpoint's optimizer has state of unknown parameters {unknown[:3]}")
    for group, restored in zip(optimizer.param_groups, options, strict=True):
        group.update(restored)
    for number, flat in enumerate(shards.flats):
        optimizer.state.pop(flat, None)
        group = optimizer.param_groups[shards.group_of[number]]
        on_device = bool(group.get("fused") or group.get("capturable"))
        held = {n: state["state"][n] for n in shards.members[number] if state["state"].get(n)}
        keys = dict.fromkeys(key for values in held.values() for key in values)
        for key in keys:
            values = {name: own[key] for name, own in held.items() if key in own}
            optimizer.state[flat][key] = (
                _flat_of(shards, flat, key, values)
                if _is_elementwise(shards, key, values)
                else _common(key, in_memory(values), flat.device if on_device else None)
            )


def _is_elementwise(shards: Shards, key: str, values: dict[str, Any]) -> bool:
    """Whether the entry has one number per element; a counter of a scalar parameter looks the same."""
    return key != "step" and all(
        is_values(value) and value.shape == shards.shapes[name] for name, value in values.items()
    )


def _flat_of(shards: Shards, flat: Tensor, key: str, values: dict[str, Any]) -> Tensor:
    dtype = next(iter(values.values())).dtype
    # A parameter without an entry had no gradient yet: its moments are zero and it is not ahead.
    whole = flat.detach().clone() if key == LOOKAHEAD else torch.zeros_like(flat, dtype=dtype)
    for name, value in values.items():
        shards.put(name, value, whole)
    return whole


def _common(key: str, values: dict[str, Any], device: torch.device | None) -> Any:
    """What all parameters agree on, since a flat tensor has one counter for all of them."""
    first, *others = values.values()
    for other in others:
        same = torch.equal(first.cpu(), other.cpu()) if isinstance(first, Tensor) else first == other
        if not same:
            raise CheckpointError(
                f"the checkpoint's parameters differ in '{key}' of the optimizer (some had no gradient in"
                " some steps); ZeRO keeps one for all of a group: go on with engine=single, ddp or zero0"
            )
    return _copy(first) if device is None else _copy(first).to(device)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
