"""How a global batch is cut into micro-batches and ranks: solved once, here, for every engine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framework.errors import ConfigError, Problem


@dataclass(frozen=True)
class BatchPlan:
    """size = micro x accumulation x world_size.

    Attributes:
        size: samples in a global batch.
        micro: samples in one micro-batch of one rank.
        accumulation: micro-batches per rank and optimizer step.
        world_size: number of ranks.
    """

    size: int
    micro: int
    accumulation: int
    world_size: int

    @staticmethod
    def solve(size: int, micro: int | None, world_size: int) -> BatchPlan:
        """The plan for a global batch; without `micro`, each rank takes its share at once.

        Raises:
            ConfigError: the sizes do not divide; the message shows the arithmetic and valid neighbours.
        """
        if micro is None:
            if size % world_size:
                below, above = size // world_size * world_size, -(-size // world_size) * world_size
                offer = " or ".join(str(s) for s in (below, above) if s)
                message = f"{size} samples do not divide over {world_size} ranks; try {offer}"
                raise ConfigError([Problem("batch.size", message)])
            return BatchPlan(size, size // world_size, 1, world_size)
        row = micro * world_size
        if size % row:
            smaller = (m for m in range(min(micro, size), 0, -1) if size % (m * world_size) == 0)
            fits = None if size % world_size else next(smaller)
            below, above = size // row * row, -(-size // row) * row
            offer = f"batch.size={' or '.join(str(s) for s in (below, above) if s)}"
            if fits is not None:
                offer = f"batch.micro={fits} or {offer}"
            message = f"size {size} is not micro {micro} x {world_size} rank(s) x a whole number; try {offer}"
            raise ConfigError([Problem("batch", message)])
        return BatchPlan(size, micro, size // row, world_size)

    def num_micros(self, num_samples: int) -> int:
        """Micro-batches that every rank runs for a global batch of `num_samples` (the last may be short)."""
        return -(-num_samples // (self.micro * self.world_size))

    def span(self, micro: int, rank: int, num_samples: int) -> tuple[int, int]:
        """Start and end of the positions in the global batch that `rank` takes in micro-batch `micro`.

        Micro-batch after micro-batch, rank after rank: the order of positions is the canonical order in
        which a policy sees the samples. The span is empty where the batch is short.
        """
        start = (micro * self.world_size + rank) * self.micro
        return start, max(start, min(start + self.micro, num_samples))

    def positions(self, micro: int, rank: int, num_samples: int) -> np.ndarray:
        """The positions of `span`, (micro,) or fewer."""
        return np.arange(*self.span(micro, rank, num_samples))

    def cut(self, num_samples: int, left_out: Sequence[int] = ()) -> Cut:
        """Who takes which of the `num_samples` samples of a global batch without its places `left_out`."""
        return Cut(self, num_samples + len(left_out), tuple(left_out))


@dataclass(frozen=True)
class Cut:
    """One global batch, of which some places may hold no sample; the samples are counted without those.

    Attributes:
        num_places: positions of the plan that the batch takes.
        left_out: those of them without a sample, ascending.
    """

    plan: BatchPlan
    num_places: int
    left_out: tuple[int, ...]

    def span(self, micro: int, rank: int) -> tuple[int, int]:
        """Start and end among the samples of those that `rank` takes in micro-batch `micro`."""
        start, end = self.plan.span(micro, rank, self.num_places)
        return start - bisect_left(self.left_out, start), end - bisect_left(self.left_out, end)

    def row(self, micro: int) -> tuple[int, int]:
        """Start and end among the samples of those that all ranks take in micro-batch `micro`."""
        start = micro * self.plan.micro * self.plan.world_size
        end = min(start + self.plan.micro * self.plan.world_size, self.num_places)
        return start - bisect_left(self.left_out, start), end - bisect_left(self.left_out, end)

    def rows(self, micros: Sequence[int]) -> np.ndarray:
        """Where the samples of `micros` stand among rows padded to (micros, ranks, micro), flat."""
        ranks = range(self.plan.world_size)
        sizes = [[end - start for start, end in (self.span(m, rank) for rank in ranks)] for m in micros]
        rows: np.ndarray = np.arange(self.plan.micro) < np.array(sizes)[..., None]
        return np.flatnonzero(rows)
