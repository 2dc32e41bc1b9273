"""A checkpoint's parts given back to what they were taken from."""

from __future__ import annotations

from collections.abc import Mapping

from framework.checkpoint.checkpoint import Checkpoint
from framework.errors import CheckpointError
from framework.stateful import Stateful


def restore(checkpoint: Checkpoint, parts: Mapping[str, Stateful]) -> None:
    """Give every part its state back.

    Raises:
        CheckpointError: parts are missing or unknown, or a state does not fit; all of it in one message.
    """
    problems = [f"{name}: is not in the checkpoint" for name in sorted(parts.keys() - set(checkpoint.parts))]
    for name in sorted(set(checkpoint.parts) - parts.keys()):
        problems.append(f"{name}: is in the checkpoint, but this run has no such part")
    if not problems:
        for name, part in parts.items():
            try:
                stored = getattr(part, "takes_stored", False)
                part.load_state_dict(checkpoint.parts.stored(name) if stored else checkpoint.parts[name])
            except CheckpointError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise CheckpointError(f"{checkpoint.path} does not fit this run:\n  " + "\n  ".join(problems))
