"""The random number generators of this process as something to save and put back."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch

from framework.errors import CheckpointError

_log = logging.getLogger(__name__)


class Rng:
    """Python's `random`, numpy's global generator, torch's on the CPU and on every CUDA device."""

    def state_dict(self) -> dict[str, Any]:
        """The generators as they stand."""
        version, words, gauss = random.getstate()
        numpy_state: dict[str, Any] = np.random.get_state(legacy=False)
        return {
            "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
            "numpy": numpy_state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on drawing where `state` was taken.

        Raises:
            CheckpointError: this is not the state of these generators.
        """
        try:
            python = state["python"]
            words = tuple(python["words"].tolist())
            random.setstate((python["version"], words, python["gauss"]))
            np.random.set_state(state["numpy"])
            torch.set_rng_state(state["torch"])
            cuda = state["cuda"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"the state of the random generators does not fit: {error}") from error
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if len(cuda) == devices:
            torch.cuda.set_rng_state_all(cuda)
        else:
            _log.warning(
                "the checkpoint has random states of %d CUDA devices, here are %d: "
                "what is drawn on a device will not be the same numbers",
                len(cuda),
                devices,
            )
