"""Which model describes a section of a configuration, given what the section says."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from framework.registry import Of, registry


def model_at(root: type[BaseModel], path: Sequence[str | int], data: Any) -> type[BaseModel] | None:
    """The model of the section at `path` of `data`, or None when there is none."""
    model: type[BaseModel] | None = root
    annotation: Any = None
    for key in path:
        data = data[key]
        if isinstance(key, int):
            annotation = next(iter(typing.get_args(annotation)), None)
        elif model is None and typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[1]
        elif model is not None and key in model.model_fields:
            field = model.model_fields[key]
            # pydantic moves the metadata of a field's own Annotated away from its annotation
            annotation = (
                typing.Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            )
        else:
            return None
        model = _model_of(annotation, data)
        if model is None:
            annotation = _inner(annotation, list) or _inner(annotation, dict) or annotation
    return model


def _model_of(annotation: Any, data: Any) -> type[BaseModel] | None:
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Of):
            name = data.get("name") if isinstance(data, dict) else None
            return registry.get(extra.kind, name).model if name in registry.names(extra.kind) else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation) if typing.get_origin(annotation) not in (list, dict) else ():
        found = _model_of(argument, data)
        if found is not None:
            return found
    return None


def _inner(annotation: Any, origin: type) -> Any:
    """The list or dictionary type inside a union such as `list[X] | None`."""
    if typing.get_origin(annotation) is origin:
        return annotation
    found = (_inner(argument, origin) for argument in typing.get_args(annotation))
    return next((inner for inner in found if inner is not None), None)
