"""What must survive a restart says so by these two methods."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """Anything on the list of what a checkpoint holds.

    The state is a tree of dictionaries (string keys), lists, tensors and JSON scalars; floats and
    tensors come back bit for bit. `load_state_dict` raises CheckpointError for a state that does not fit.
    One with a true attribute `takes_stored` is given tensors that are still on the disk (`pieces.Stored`).
    """

    def state_dict(self) -> dict[str, Any]:
        """The state, not a copy."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over `state`."""
