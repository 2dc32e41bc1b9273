"""State that each process has for itself, kept together so that a checkpoint is one for all ranks."""

from __future__ import annotations

import logging
from typing import Any

from torch import distributed

from framework.parallel.world import World
from framework.stateful import Stateful

logger = logging.getLogger("framework.training")


class PerRank:
    """The states of one Stateful on every rank. With another number of ranks they are dealt out anew."""

    def __init__(self, inner: Stateful, world: World) -> None:
        self.inner = inner
        self.world = world

    def state_dict(self) -> dict[str, Any]:
        """`{"ranks": [state of rank 0, ...]}`; every rank calls it."""
        own = self.inner.state_dict()
        states: list[Any] = [own]
        if self.world.size > 1:
            states = [None] * self.world.size
            distributed.all_gather_object(states, own)
        return {"ranks": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take this rank's state; a rank that did not exist then keeps its own."""
        states = state["ranks"]
        if self.world.rank < len(states):
            self.inner.load_state_dict(states[self.world.rank])
        if self.world.size != len(states) and self.world.is_main:
            logger.warning(
                "the checkpoint is of %d processes, now there are %d: random numbers drawn while training"
                " (dropout) will be others; order, augmentation and weights are the same",
                len(states),
                self.world.size,
            )
