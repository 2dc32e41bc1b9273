"""When one process fails, all end the same way, in bounded time, and one of them says why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import distributed

from framework.errors import EXIT_FAILED, UserError
from framework.parallel.world import World

#: how long a failing process waits for the word of the others; those that live notice at their next exchange
_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.02
#: how torch's backends begin the complaint of a process whose partner is gone or silent
_CONSEQUENCES = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")


class PeerError(UserError):
    """The run ends because of another process."""

    def __init__(self, message: str, exit_code: int, *, shared: bool) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.shared = shared
        self.settled = True


@dataclass(frozen=True)
class Verdict:
    """How one process ended.

    Attributes:
        cause: whether it failed by itself; else it only lost another one.
        silent: whether it waited for another one that did not answer.
    """

    message: str
    exit_code: int
    cause: bool
    silent: bool = False

    @staticmethod
    def of(error: Exception) -> Verdict:
        text = str(error) or type(error).__name__
        if isinstance(error, UserError):
            return Verdict(text, error.exit_code, cause=True)
        cause = not isinstance(error, RuntimeError) or not any(name in text for name in _CONSEQUENCES)
        first_line = f"{type(error).__name__}: {text}".splitlines()[0]
        silent = any(word in text for word in ("Timed out", "timed out", "Timeout", "timeout"))
        return Verdict(first_line, EXIT_FAILED, cause, silent)


class Agreement:
    """The processes of a group, and the store through which they tell each other of a failure.

    Args:
        store: outlives the group; None for a single process.
    """

    def __init__(self, world: World, store: Any, timeout_seconds: float) -> None:
        self.world = world
        self.store = store
        self.timeout_seconds = timeout_seconds
        self._reached = False

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """An exception inside becomes the same end on every rank; it may be nested.

        Raises:
            Exception: the original, on the ranks that caused the end.
            PeerError: on the others, and where no rank knows the cause; `shared` unless this rank tells.
        """
        try:
            yield
        except Exception as error:
            if self.store is None or self._reached:
                raise
            self._reached = True
            own = Verdict.of(error)
            verdicts = self._exchange(own)
            self._conclude(error, own, verdicts)

    def _exchange(self, own: Verdict) -> dict[int, Verdict]:
        """Every rank's verdict, as far as it comes in time."""
        verdicts = {self.world.rank: own}
        try:
            self.store.set(_key(self.world.rank), json.dumps(vars(own)))
            # Whoever waits for this process in an exchange learns now that it will not come.
            if distributed.is_initialized():
                distributed.destroy_process_group()
            deadline = time.monotonic() + _WAIT_SECONDS
            while len(verdicts) < self.world.size and time.monotonic() < deadline:
                for rank in set(range(self.world.size)) - verdicts.keys():
                    if self.store.check([_key(rank)]):
                        verdicts[rank] = Verdict(**json.loads(self.store.get(_key(rank))))
                time.sleep(_POLL_SECONDS)
        except RuntimeError:
            # The store lived in a process that is gone.
            pass
        return verdicts

    def _conclude(self, error: Exception, own: Verdict, verdicts: dict[int, Verdict]) -> None:
        causes = {rank: verdict for rank, verdict in verdicts.items() if verdict.cause}
        if not causes:
            self._conclude_without_cause(error, verdicts)
        first = min(causes)
        told_by = min(rank for rank, verdict in causes.items() if verdict.message == causes[first].message)
        if own.cause and (own.message != causes[told_by].message or told_by == self.world.rank):
            if isinstance(error, UserError):
                error.settled = True
            raise error
        cause = causes[first]
        raise PeerError(f"rank {first}: {cause.message}", cause.exit_code, shared=True) from error

    def _conclude_without_cause(self, error: Exception, verdicts: dict[int, Verdict]) -> None:
        missing = sorted(set(range(self.world.size)) - verdicts.keys())
        names = ", ".join(map(str, missing)) or "?"
        told = f"rank {names} of {self.world.size}"
        if verdicts[self.world.rank].silent:
            how = (
                f"{told} did not answer for {self.timeout_seconds:g} s (launch.timeout_seconds): it hangs, or"
                " works on something that takes longer; where it stands is in its log in the run folder"
            )
        else:
            how = f"{told} ended without a word (killed, or out of memory)"
        # What torch said is kept as the cause; the lowest rank that is left speaks for all.
        raise PeerError(how, EXIT_FAILED, shared=min(verdicts) != self.world.rank) from error


def _key(rank: int) -> str:
    return f"framework/end/{rank}"
