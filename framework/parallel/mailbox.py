"""Words between processes outside any collective: threads may exchange them while training goes on."""

from __future__ import annotations

import json
from typing import Any

from torch import distributed

from framework.parallel.world import World


class Mailbox:
    """One word per rank, by way of the store at which the processes met. Each process makes its own.

    Args:
        name: the same on all ranks, and not used before in the life of the process group.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self._store: Any = None
        if world.size > 1:
            # A connection of its own: the other one is held while it waits for an answer.
            store: Any = distributed.distributed_c10d._get_default_store()
            self._store = store.clone()

    def put(self, word: dict[str, Any]) -> None:
        """Leave this rank's word for the others.

        Raises:
            RuntimeError: the process that keeps the store is gone.
        """
        self._store.set(self._key(self.world.rank), json.dumps(word))

    def take(self, rank: int) -> dict[str, Any] | None:
        """The word of `rank`; None while there is none.

        Raises:
            RuntimeError: the process that keeps the store is gone.
        """
        key = self._key(rank)
        if not self._store.check([key]):
            return None
        word: dict[str, Any] = json.loads(self._store.get(key))
        self._store.delete_key(key)
        return word

    def _key(self, rank: int) -> str:
        return f"{self.name}/{rank}"
