"""An optimizer's state keyed by parameter names, so that no layout or order is baked into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    current = optimizer.state_dict()["param_groups"]
    names_of_groups = [[order[i] for i in group["params"]] for group in current]
    options = restored_options(optimizer.defaults, current, names_of_groups, state["groups"])
    raw_groups = [
        {**restored, "params": group["params"]} for group, restored in zip(current, options, strict=True)
    ]
    unknown = sorted(set(state["state"]) - set(number))
    if unknown:
        raise CheckpointError(f"the checkpoint's optimizer has state of unknown parameters {unknown[:3]}")
    optimizer.load_state_dict(
        {"state": {number[name]: value for name, value in state["state"].items()}, "param_groups": raw_groups}
    )


def restored_options(
    configured: Collection[str],
    current: Sequence[Mapping[str, Any]],
    names: Sequence[list[str]],
    saved: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The options of each group, without its parameters, as this optimizer goes on with them.

    Args:
        configured: the options that the configuration sets.
        current: this optimizer's groups.
        names: the parameters of each, by name.
        saved: the groups of a state that `by_name` made.

    Raises:
        CheckpointError: the groups hold other parameters or other options than this optimizer's.
    """
    if [list(group) for group in names] != [list(group["parameters"]) for group in saved]:
        raise CheckpointError("the checkpoint's optimizer has other parameter groups than this run's")
    restored = []
    for group, stored in zip(current, saved, strict=True):
        options = {k: v for k, v in stored.items() if k != "parameters"}
        if set(options) != set(group) - {"params"}:
            differing = sorted(set(options) ^ (set(group) - {"params"}))
            raise CheckpointError(f"the checkpoint's optimizer is of another kind: it differs in {differing}")
        # What the configuration sets is this run's: it may start from another run's checkpoint with other
        # rates, and which kernel steps is its layout's affair. `lr` is the schedule's, set before every step.
        own = {k: group[k] for k in options if k in {*configured, "initial_lr"} - {"lr"}}
        restored.append({**options, **own})
    return restored


def _order(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> list[str]:
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
