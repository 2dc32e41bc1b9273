"""Parts of which a run has any number, as one part of its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from framework.stateful import Stateful


class Several:
    """The states of callbacks or regularizers, by position and name: order is part of a run."""

    def __init__(self, parts: Sequence[Stateful]) -> None:
        self.parts = {f"{i}_{type(part).__name__}": part for i, part in enumerate(parts)}

    def state_dict(self) -> dict[str, Any]:
        """`{"0_Name": state, ...}`."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand every part the state of its position and name."""
        for name, part in self.parts.items():
            # A run that starts from another's checkpoint may have other ones: those begin afresh.
            if name in state:
                part.load_state_dict(state[name])
