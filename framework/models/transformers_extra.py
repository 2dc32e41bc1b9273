"""The optional package `transformers`, imported only when a model needs it."""

from __future__ import annotations

import importlib
from typing import Any

from framework.errors import UserError


def import_transformers(model: str) -> Any:
    """The module `transformers`, for the model named `model`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"model '{model}' needs the package transformers ({error}):"
            " run `pip install framework[huggingface]`, or choose another model"
        ) from error
