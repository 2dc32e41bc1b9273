"""Checkpoints written beside training: each rank its own files, in a thread; rank 0 publishes them."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.checkpoint.checkpoint import write_share
from framework.checkpoint.store import CheckpointStore
from framework.checkpoint.tree import FlatState
from framework.errors import CheckpointError
from framework.files import FileDigest
from framework.parallel.collectives import any_rank, on_main
from framework.parallel.mailbox import Mailbox
from framework.parallel.world import World

_log = logging.getLogger(__name__)

#: how long rank 0 waits for the others' word once the run has failed: those that live are as far as it is
_PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.02
#: tells the saves of a process group apart; every rank takes part in all of them, in the same order
_numbers = itertools.count()


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Attributes:
        step: number of optimizer steps that the checkpoint is the result of.
        parts: this rank's share of the states, on the host.
        meta: values beside the state.
        keep_last: how many of the newest checkpoints stay.
        best: step of the selected checkpoint, if there is one.
    """

    step: int
    parts: Mapping[str, FlatState]
    meta: Mapping[str, Any]
    keep_last: int
    best: int | None


class Saver:
    """Has at most one checkpoint in the making. All ranks call `start`, `wait` and `collect` together.

    The threads never touch the process group that trains: they talk through the store at which the
    processes met.

    Args:
        timeout_seconds: how long rank 0, done with its files, waits for those of the other ranks.
    """

    def __init__(self, store: CheckpointStore, world: World, timeout_seconds: float) -> None:
        self.store = store
        self.world = world
        self.timeout_seconds = timeout_seconds
        self._making: _Making | None = None

    def start(self, order: Order) -> None:
        """Begin to write; the states in `order` must not change until it is done.

        Raises:
            CheckpointError: the folder is not writable; on every rank.
        """
        assert self._making is None, "a checkpoint is being written"
        temporary = on_main(lambda: self.store.begin(order.step), self.world)
        self._making = _Making(self.store, self.world, self.timeout_seconds, order, temporary)
        self._making.thread.start()

    def wait(self) -> None:
        """Until the one in the making is published or has failed; `collect` tells which."""
        # Rank 0 meets the others at short intervals: one that died meanwhile is noticed at once.
        while self._making is not None and not self._ended(self._making):
            self._making.ended.wait(_POLL_SECONDS if self.world.is_main else 0)

    def collect(self) -> Path | None:
        """The checkpoint that was published since the last call; None if none was (yet).

        Raises:
            CheckpointError: it could not be written; the same on every rank.
        """
        making = self._making
        if making is None or not self._ended(making):
            return None
        self._making = None
        return on_main(making.result, self.world)

    def abandon(self) -> None:
        """The run has failed: complete what is in the making if all ranks can; the dead are not awaited."""
        making, self._making = self._making, None
        if making is None:
            return
        making.hurry()
        making.thread.join(self.timeout_seconds)
        if self.world.is_main and not making.published:
            _log.warning("the checkpoint of step %d was not completed", making.order.step)

    def _ended(self, making: _Making) -> bool:
        return any_rank(self.world.is_main and making.ended.is_set(), self.world)


class _Making:
    """One checkpoint on its way to the disk."""

    def __init__(
        self, store: CheckpointStore, world: World, timeout_seconds: float, order: Order, temporary: Path
    ) -> None:
        self.store = store
        self.world = world
        self.timeout_seconds = timeout_seconds
        self.order = order
        self.temporary = temporary
        self.ended = threading.Event()
        self.published: Path | None = None
        self.mailbox = Mailbox(world, f"framework/save/{next(_numbers)}")
        # A process that ends in spite of it leaves an incomplete folder, which is nobody's.
        self.thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._error: Exception | None = None
        self._deadline = float("inf")

    def result(self) -> Path:
        """The published folder.

        Raises:
            CheckpointError: it could not be written.
        """
        if self._error is not None:
            raise self._error
        assert self.published is not None
        return self.published

    def hurry(self) -> None:
        """Wait for the others' word for a moment only."""
        self._deadline = time.monotonic() + _PATIENCE_SECONDS

    def _run(self) -> None:
        try:
            own = self._write()
            if self.world.is_main:
                self.published = self._publish([own, *self._others()])
            else:
                self.mailbox.put(own)
        except Exception as error:
            self._error = error
        finally:
            self.ended.set()

    def _write(self) -> dict[str, Any]:
        """This rank's word: its files, or why there are none."""
        try:
            files = write_share(self.temporary, self.order.parts, self.order.meta, self.world)
        except OSError as error:
            return {"error": error.strerror or str(error)}
        except Exception as error:
            _log.exception("this rank's share of the checkpoint of step %d", self.order.step)
            return {"error": f"{type(error).__name__}: {error}"}
        return {"files": {name: asdict(digest) for name, digest in files.items()}}

    def _others(self) -> list[dict[str, Any]]:
        """The words of the other ranks; an error in place of those that did not come in time."""
        started = time.monotonic()
        words: dict[int, dict[str, Any]] = {}
        missing = set(range(1, self.world.size))
        while True:
            for rank in sorted(missing):
                word = self.mailbox.take(rank)
                if word is not None:
                    words[rank] = word
            missing -= words.keys()
            if not missing:
                return [words[rank] for rank in sorted(words)]
            if time.monotonic() > min(self._deadline, started + self.timeout_seconds):
                late = min(missing)
                reason = f"rank {late} did not write its files within {self.timeout_seconds:g} s"
                return [*words.values(), {"error": f"{reason} (launch.timeout_seconds)"}]
            time.sleep(_POLL_SECONDS)

    def _publish(self, words: list[dict[str, Any]]) -> Path:
        order = self.order
        reason = next((word["error"] for word in words if "error" in word), None)
        if reason is not None:
            self.store.discard(self.temporary)
            raise CheckpointError(self.store.unwritable(order.step, reason))
        files = {name: FileDigest(**digest) for word in words for name, digest in word["files"].items()}
        keep: Collection[int] = () if order.best is None else (order.best,)
        path = self.store.publish(self.temporary, order.step, files, order.keep_last, keep)
        self.store.select(order.best)
        return path
