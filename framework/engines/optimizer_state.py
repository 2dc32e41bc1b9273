"""An optimizer's state keyed by parameter names, so that no layout or order is baked into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from framework.errors import CheckpointError


def by_name(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """`{"state": {name: {...}}, "groups": [{"parameters": [names], options...}]}`.

    Args:
        optimizer: whose state is read.
        names: id(parameter) -> name, for every parameter the optimizer holds.
    """
    order = _order(optimizer, names)
    raw = optimizer.state_dict()
    groups = [
        {
            **{k: v for k, v in group.items() if k != "params"},
            "parameters": [order[i] for i in group["params"]],
        }
        for group in raw["param_groups"]
    ]
    return {"state": {order[i]: value for i, value in raw["state"].items()}, "groups": groups}


def load_by_name(optimizer: torch.optim.Optimizer, names: Mapping[int, str], state: dict[str, Any]) -> None:
    """The inverse of `by_name`.

    Raises:
        CheckpointError: the groups hold other parameters or other options than this optimizer's.
    """
    order = _order(optimizer, names)
    number = {name: i for i, name in enumerate(order)}
    raw_groups = []
    current = optimizer.state_dict()["param_groups"]
    saved_groups = state["groups"]
    if [[order[i] for i in g["params"]] for g in current] != [g["parameters"] for g in saved_groups]:
        raise CheckpointError("the checkpoint's optimizer has other parameter groups than this run's")
    for group, saved in zip(current, saved_groups, strict=True):
        options = {k: v for k, v in saved.items() if k != "parameters"}
        if set(options) != set(group) - {"params"}:
            differing = sorted(set(options) ^ (set(group) - {"params"}))
            raise CheckpointError(f"the checkpoint's optimizer is of another kind: it differs in {differing}")
        # What the configuration sets is this run's: it may start from another run's checkpoint with other
        # rates. `lr` is the schedule's, which sets it before every step.
        own = {k: group[k] for k in options if k in {*optimizer.defaults, "initial_lr"} - {"lr"}}
        raw_groups.append({**options, **own, "params": group["params"]})
    unknown = sorted(set(state["state"]) - set(number))
    if unknown:
        raise CheckpointError(f"the checkpoint's optimizer has state of unknown parameters {unknown[:3]}")
    optimizer.load_state_dict(
        {"state": {number[name]: value for name, value in state["state"].items()}, "param_groups": raw_groups}
    )


def _order(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> list[str]:
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
