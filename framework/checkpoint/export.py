"""A checkpoint's weights as one safetensors file, for use outside the framework."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.names import BEST, LATEST
from framework.checkpoint.resume import load_from
from framework.checkpoint.store import CheckpointStore
from framework.checkpoint.tensor_file import tensor_chunks
from framework.errors import CheckpointError
from framework.files import replace_file
from framework.pieces import Stored, whole
from framework.run_folder import CHECKPOINTS

FILE_NAME = "model.safetensors"


def export(run_dir: Path, out: Path | None = None, which: str = BEST) -> Path:
    """Write the model's weights, by parameter and buffer name; averaged ones if the run averages.

    The file's metadata holds `name`, `step` and `config` (as JSON).

    Args:
        run_dir: the run folder.
        out: the file to write; None takes `model.safetensors` in the run folder.
        which: `best` (the latest if none is marked), `latest`, a step, or a checkpoint's folder.

    Returns:
        The file.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or the file cannot be written.
    """
    checkpoint = find_checkpoint(run_dir, which)
    config = checkpoint.meta.get("config", {})
    weights = _weights(checkpoint)
    metadata = {
        "format": "pt",
        "name": str(config.get("name", "")),
        "step": str(checkpoint.step),
        "config": json.dumps(config),
    }
    path = out if out is not None else run_dir / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, tensor_chunks(weights, metadata))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}") from error
    return path


def find_checkpoint(run_dir: Path, which: str) -> Checkpoint:
    """The checkpoint of a run folder that `export` calls so, verified.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    store = CheckpointStore(run_dir / CHECKPOINTS)
    if which == BEST and store.marked(BEST) is not None:
        return store.load(BEST)
    if which in (BEST, LATEST):
        return store.load(LATEST)
    if which.isdecimal():
        return store.load(int(which))
    return load_from(Path(which))


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    engine: dict[str, Any] = checkpoint.parts.stored("engine")
    model: dict[str, Stored] = engine["model"]
    average: dict[str, Stored] = engine.get("ema", {})
    # Buffers have no average; a tied parameter has one under the first of its names.
    by_identity = {id(model[name]): tensor for name, tensor in average.items()}
    return {name: whole(by_identity.get(id(tensor), tensor)) for name, tensor in model.items()}
