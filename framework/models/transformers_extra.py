"""The optional package `transformers`, imported only when a model needs it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars and load reports; its errors are not touched."""
    logging: Any = importlib.import_module("transformers.utils.logging")

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
