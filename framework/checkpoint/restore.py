"""What is on the list of a checkpoint, asked for its state and given it back."""

from __future__ import annotations

from collections.abc import Mapping

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.tree import State
from framework.errors import CheckpointError
from framework.stateful import Stateful

#: parts that an engine's state is split into, so that `model.safetensors` holds plain weights by name
ENGINE_PARTS = ("model", "optimizer", "ema")


def collect(engine: Stateful, parts: Mapping[str, Stateful]) -> dict[str, State]:
    """The state of everything, by part name."""
    states: dict[str, State] = dict(engine.state_dict())
    assert states.keys() <= set(ENGINE_PARTS), f"an engine's state has {sorted(states)}"
    assert not parts.keys() & set(ENGINE_PARTS)
    return states | {name: part.state_dict() for name, part in parts.items()}


def restore(checkpoint: Checkpoint, engine: Stateful, parts: Mapping[str, Stateful]) -> None:
    """Give every part its state back.

    Raises:
        CheckpointError: parts are missing or unknown, or a state does not fit; all of it in one message.
    """
    there = set(checkpoint.parts)
    problems = [f"{name}: is not in the checkpoint" for name in sorted(parts.keys() - there)]
    for name in sorted(there - parts.keys() - set(ENGINE_PARTS)):
        problems.append(f"{name}: is in the checkpoint, but this run has no such part")
    if not problems:
        owned = {"engine": engine, **parts}
        for name, part in owned.items():
            names = [n for n in ENGINE_PARTS if n in there] if name == "engine" else [name]
            try:
                states = {n: checkpoint.parts[n] for n in names}
                part.load_state_dict(states if name == "engine" else states[name])
            except CheckpointError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise CheckpointError(f"{checkpoint.path} does not fit this run:\n  " + "\n  ".join(problems))
