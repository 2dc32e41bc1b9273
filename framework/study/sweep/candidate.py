"""A setting that was tried, with what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from framework.study.sweep.space import Value

State = Literal["complete", "pruned", "failed", "running", "waiting"]


@dataclass(frozen=True)
class Candidate:
    """One trial of a sweep.

    Attributes:
        number: in the order of proposal; a trial that another process takes over keeps it.
        parameters: key -> value.
        value: the mean over seeds of the selection metric; None unless complete.
        by_seed: the same per seed.
        evaluations: number of the evaluation -> value, of the run with the first seed.
        reason: why it failed.
        seconds: that its runs took, as far as it is known.
        host: where it ran.
    """

    number: int
    state: State
    parameters: Mapping[str, Value]
    value: float | None = None
    by_seed: Mapping[int, float] = field(default_factory=dict)
    evaluations: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float | None = None
    host: str = ""


def ranked(candidates: Sequence[Candidate], *, maximize: bool) -> list[Candidate]:
    """The complete ones, the best first; of equals the earlier one."""
    complete = [each for each in candidates if each.state == "complete"]
    return sorted(complete, key=lambda each: ((each.value or 0.0) * (-1 if maximize else 1), each.number))
