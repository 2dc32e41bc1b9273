"""Files of torch.save, read without running anything that they say: tensors and plain values only."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from framework.errors import CheckpointError


class Fragment:
    """Stands in for DeepSpeed's `fragment_address`.

    Attributes:
        start: of a piece of a parameter in a rank's flat tensor.
        numel: its number of elements.
    """

    start: int
    numel: int


class _Record:
    """Stands in for an object of which nothing is needed."""


#: The classes of DeepSpeed in the files it writes, and what is built in their place: DeepSpeed itself is not
#: imported, and nothing of it runs.
_STANDING_IN: list[Any] = [
    (Fragment, "deepspeed.utils.tensor_fragment.fragment_address"),
    (int, "deepspeed.runtime.zero.config.ZeroStageEnum"),
    (_Record, "deepspeed.runtime.fp16.loss_scaler.LossScaler"),
    (_Record, "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler"),
]


def read_pickle(path: Path) -> Any:
    """The content of a file of torch.save, its tensors mapped.

    Raises:
        CheckpointError: it is not there, damaged, or holds anything but tensors and plain values.
    """
    with safe_globals(_STANDING_IN):
        try:
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing") from None
        except pickle.UnpicklingError as error:
            others = "something else"
            with suppress(RuntimeError, ValueError, pickle.UnpicklingError):
                others = ", ".join(sorted(get_unsafe_globals_in_checkpoint(path))) or others
            raise CheckpointError(
                f"{path} is refused: beside tensors and plain values it holds {others},"
                " and a pickle of such a thing can run code when it is loaded. If you trust the file, load it"
                " with torch.load(weights_only=False) and save it again without them"
            ) from error
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CheckpointError(f"{path} cannot be read as a file of torch.save: {first}") from error
