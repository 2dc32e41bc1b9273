"""The states of a run on the host, taken while training stands still."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from framework.checkpoint.checkpoint import META
from framework.checkpoint.manifest import MANIFEST
from framework.checkpoint.tree import FlatState, State, flatten
from framework.errors import PluginError

_PART = re.compile(r"[a-z][a-z0-9_]*")


def snapshot(
    parts: Mapping[str, State], *, copy: bool = True, pieces_only: bool = False
) -> dict[str, FlatState]:
    """The parts on the host; with `copy`, training may go on while they are written.

    Args:
        parts: state trees by name.
        copy: whether the tensors must stay as they are while the originals move on.
        pieces_only: leave out what is whole, which rank 0 writes.

    Raises:
        PluginError: a state holds something that cannot be kept.
    """
    flat = {}
    for name, state in parts.items():
        assert _PART.fullmatch(name), f"{name!r} is not a name for a part"
        assert name not in (META, Path(MANIFEST).stem), f"the part name {name!r} is taken"
        try:
            flat[name] = flatten(state, copy=copy, pieces_only=pieces_only)
        except TypeError as error:
            raise PluginError(f"part {name}: {error}") from error
    return flat
