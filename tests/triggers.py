"""Things a test does at a place of a run: a signal, a NaN, a full disk; `tests.probes` reaches the places."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: (place, step) -> what happens there; step 0 of a training place is the first step
Action = Callable[..., Any]
ACTIONS: dict[tuple[str, int], Action] = {}
#: steps taken, as the probe saw it last
STEP = [0]


def reach(place: str, *things: Any) -> Any:
    """Do what a test wants at `place` of the current step; None if it wants nothing."""
    action = ACTIONS.get((place, STEP[0]))
    return None if action is None else action(*things)


@contextmanager
def planned(actions: dict[tuple[str, int], Action]) -> Iterator[None]:
    """Inside, `actions` happen."""
    ACTIONS.update(actions)
    STEP[0] = 0
    try:
        yield
    finally:
        ACTIONS.clear()


class Signals:
    """Send this process signals, as an operator would."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __call__(self, *_: Any) -> None:
        for name in self.names:
            os.kill(os.getpid(), signal.Signals[name])
