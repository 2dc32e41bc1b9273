"""The classes of `torch.optim` as components: their options are read from their signatures."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: These ask for a closure or for sparse gradients, which a training step does not give.
UNUSABLE = frozenset({"LBFGS", "SparseAdam"})
#: Not options of a run: `maximize` ascends; the other two serve graph capture and higher derivatives.
HIDDEN = frozenset({"params", "maximize", "capturable", "differentiable"})


def usable_classes() -> list[type[torch.optim.Optimizer]]:
    """Every optimizer of `torch.optim` that steps from dense gradients alone, sorted by name."""
    members = [getattr(torch.optim, name) for name in sorted(dir(torch.optim))]
    return [
        member
        for member in members
        if inspect.isclass(member)
        and issubclass(member, torch.optim.Optimizer)
        and member is not torch.optim.Optimizer
        and member.__name__ not in UNUSABLE
    ]


def component(optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """A function (parameters, *, options) with the options and defaults of `optimizer`."""
    hints = typing.get_type_hints(optimizer.__init__)
    options = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_plain(hints[parameter.name]))
        for parameter in inspect.signature(optimizer).parameters.values()
        if parameter.name not in HIDDEN
    ]
    given = inspect.Parameter("parameters", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Sequence[Any])

    def build(parameters: Sequence[Any], **chosen: Any) -> torch.optim.Optimizer:
        return optimizer(parameters, **chosen)

    build.__doc__ = f"torch.optim.{optimizer.__name__}, with that class's own options and defaults."
    build.__name__ = optimizer.__name__
    build.__signature__ = inspect.Signature([given, *options])  # type: ignore[attr-defined]
    build.__annotations__ = {parameter.name: parameter.annotation for parameter in (given, *options)}
    return build


def _plain(annotation: Any) -> Any:
    """`annotation` without tensors: a configuration holds numbers only."""
    arguments = typing.get_args(annotation)
    if not arguments:
        return annotation
    kept = tuple(_plain(argument) for argument in arguments if argument is not torch.Tensor)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.Union[kept]  # noqa: UP007
    return types.GenericAlias(typing.get_origin(annotation), kept)
