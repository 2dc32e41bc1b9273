"""A folder of DeepSpeed, whichever of its formats it has."""

from __future__ import annotations

from pathlib import Path

from framework.checkpoint.deepspeed.content import Content
from framework.checkpoint.deepspeed.universal import PARAMETERS, read_universal
from framework.checkpoint.deepspeed.zero import read_zero
from framework.errors import CheckpointError
from framework.naming import nearest

#: the files in which DeepSpeed names the newest checkpoint of a folder
LATEST, LATEST_UNIVERSAL = "latest", "latest_universal"


def read_deepspeed(source: Path, tag: str | None = None) -> Content:
    """Read a checkpoint of ZeRO 1 to 3, or a universal one, without DeepSpeed.

    Args:
        source: what `engine.save_checkpoint` was given, or the folder of one checkpoint in it.
        tag: which checkpoint; None takes the one that `latest` (else `latest_universal`) names.

    Raises:
        CheckpointError: there is none, it is not complete, or a file holds more than tensors and plain
            values.
    """
    folder = _folder(source, tag)
    try:
        return read_universal(folder) if (folder / PARAMETERS).is_dir() else read_zero(folder)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder} does not have the layout of DeepSpeed's checkpoints, as far as it is known here"
            f" ({type(error).__name__}: {error})"
        ) from error


def _folder(source: Path, tag: str | None) -> Path:
    if not source.is_dir():
        raise CheckpointError(f"{source}: there is no such folder")
    if tag is None:
        if _is_checkpoint(source):
            return source
        marks = [source / name for name in (LATEST, LATEST_UNIVERSAL) if (source / name).is_file()]
        if not marks:
            raise CheckpointError(
                f"{source} is no checkpoint of DeepSpeed, and has no file `latest` that names one; name the"
                " folder of one checkpoint, e.g. global_step100"
            )
        tag = marks[0].read_text(encoding="utf-8", errors="replace").strip()
    folder = source / tag
    if not folder.is_dir():
        there = sorted(path.name for path in source.iterdir() if path.is_dir() and _is_checkpoint(path))
        raise CheckpointError(
            f"{source} has no checkpoint {tag}{nearest(tag, there)} (there: {', '.join(there) or 'none'})"
        )
    return folder


def _is_checkpoint(folder: Path) -> bool:
    return (folder / PARAMETERS).is_dir() or any(folder.glob("*_states.pt"))
