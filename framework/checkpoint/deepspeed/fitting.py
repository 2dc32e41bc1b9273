"""DeepSpeed's tensors brought to the names, shapes and optimizer of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.checkpoint.deepspeed.content import Content
from framework.errors import CheckpointError
from framework.naming import nearest

#: faults of one kind that are listed before the rest is counted
_SHOWN = 20


def renamed(content: Content, prefixes: Mapping[str, str]) -> Content:
    """`content` with the beginnings of names exchanged: of several that fit, the longest.

    Raises:
        CheckpointError: no name begins so, or two parameters would have one name.
    """
    unused = [old for old in prefixes if not any(name.startswith(old) for name in content.tensors)]
    if unused:
        raise CheckpointError(f"--rename {unused[0]}:{prefixes[unused[0]]}: no name there begins with it")

    def new(name: str) -> str:
        fitting = [old for old in prefixes if name.startswith(old)]
        if not fitting:
            return name
        old = max(fitting, key=len)
        return prefixes[old] + name.removeprefix(old)

    tensors = {new(name): value for name, value in content.tensors.items()}
    if len(tensors) != len(content.tensors):
        raise CheckpointError("--rename gives two parameters the same name")
    moments = {new(name): value for name, value in content.moments.items()}
    return replace(content, tensors=tensors, moments=moments)


def fit_weights(content: Content, model: Mapping[str, Tensor], *, partial: bool) -> dict[str, Tensor]:
    """The model's tensors with the values of `content`.

    Args:
        content: what was read.
        model: the model's own, by name; tied ones are one object or share their memory.
        partial: keep the model's own values where `content` has none, and leave out what it has beyond.

    Raises:
        CheckpointError: names, shapes or the values of tied parameters differ; all of them in one message.
    """
    values: dict[tuple[int, torch.Size], Tensor] = {}
    for name, own in model.items():
        value, held = content.tensors.get(name), values.get(_place(own))
        # A further name of a tied parameter may be there with the numbers of the forward pass alone.
        if value is not None and (held is None or value.itemsize > held.itemsize):
            values[_place(own)] = value
    missing = [name for name, own in model.items() if _place(own) not in values]
    unknown = [name for name in content.tensors if name not in model]
    problems = []
    if not partial:
        problems += _listed(unknown, lambda n: f"the model has no such parameter{nearest(n, missing)}")
        problems += _listed(missing, lambda n: f"is not in the folder{nearest(n, unknown)}")
        problems += _advice(unknown, missing) if problems else []
    elif len(unknown) == len(content.tensors):
        problems.append("not one name is the model's")
    fitted: dict[str, Tensor] = {}
    faults: dict[str, str] = {}
    for name, own in model.items():
        value = values.get(_place(own))
        if value is None:
            fitted[name] = own
        elif not _fits(value, own):
            faults[name] = f"has shape {tuple(value.shape)} there, {tuple(own.shape)} in the model"
        elif not _agree(content.tensors.get(name, value), value):
            faults[name] = "is one parameter with another name in the model, and not equal to it there"
        else:
            fitted[name] = value.reshape(own.shape).to(own.dtype)
    problems += _listed(list(faults), faults.__getitem__)
    if problems:
        raise CheckpointError("it does not fit the model of this configuration:\n  " + "\n  ".join(problems))
    return fitted


def fit_moments(
    content: Content,
    model: Mapping[str, Tensor],
    trained: Collection[str],
    expected: Mapping[str, Any],
    optimizer: str,
    *,
    partial: bool,
) -> dict[str, dict[str, Any]]:
    """The optimizer's state by name; empty if `content` has none at all.

    Args:
        content: what was read.
        model: the model's own tensors, as for `fit_weights`.
        trained: the names of the parameters that the optimizer moves.
        expected: what the optimizer keeps of a parameter after its first step; only the kinds count.
        optimizer: its name, for the message.
        partial: leave out parameters of which `content` has no moments.

    Raises:
        CheckpointError: the moments are of another optimizer, or not of all these parameters.
    """
    states = {_place(model[name]): state for name, state in content.moments.items() if name in model}
    without = [name for name in trained if _place(model[name]) not in states]
    if content.moments and without and not partial:
        lines = _listed(without, lambda name: "has no moments in the folder")
        advice = "--names partial lets them begin anew, --moments drop all of them"
        raise CheckpointError("\n  ".join(["it does not fit the optimizer:", *lines, advice]))
    fitted: dict[str, dict[str, Any]] = {}
    for name in trained:
        state = states.get(_place(model[name]))
        if state is None:
            continue
        if state.keys() != expected.keys():
            raise CheckpointError(
                f"it has {', '.join(sorted(state))} for {name}, and optimizer {optimizer} keeps"
                f" {', '.join(sorted(expected)) or 'nothing'}: choose the optimizer that wrote it, or take"
                " the weights alone with --moments drop"
            )
        fitted[name] = {key: _like(value, expected[key], model[name], name) for key, value in state.items()}
    return fitted


def _like(value: Any, kind: Any, parameter: Tensor, name: str) -> Any:
    if isinstance(kind, Tensor) and kind.dim():
        if not isinstance(value, Tensor) or value.numel() != parameter.numel():
            raise CheckpointError(f"the moments of {name} do not have one number per element")
        return value.reshape(parameter.shape).to(kind.dtype)
    return torch.tensor(float(value), dtype=kind.dtype) if isinstance(kind, Tensor) else type(kind)(value)


def _fits(value: Tensor, own: Tensor) -> bool:
    """Universal checkpoints of stage 3 do not keep shapes."""
    return value.shape == own.shape or (value.dim() == 1 and value.numel() == own.numel())


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two values of a tied parameter are the same, as far as their precision tells."""
    return one.dtype != other.dtype or torch.equal(one.flatten(), other.flatten())


def _place(tensor: Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr() or id(tensor), tensor.shape


def _listed(names: list[str], fault: Callable[[str], str]) -> list[str]:
    more = len(names) - _SHOWN
    lines = [f"{name}: {fault(name)}" for name in names[:_SHOWN]]
    return lines + ([f"and {more} more of this kind"] if more > 0 else [])


def _advice(unknown: Iterable[str], missing: Iterable[str]) -> list[str]:
    """How to rename, where all names differ by what they begin with."""
    there, here = set(unknown), set(missing)
    for theirs, ours in ((a, b) for a in sorted(there)[:1] for b in sorted(here)):
        for long, short in ((theirs, ours), (ours, theirs)):
            prefix = long.removesuffix(short)
            old, new = (prefix, "") if long is theirs else ("", prefix)
            if prefix != long and {new + name.removeprefix(old) for name in there} == here:
                return [f"they fit with --rename {old}:{new}"]
    return ["--rename OLD:NEW exchanges what names begin with, --names partial takes those that are alike"]
