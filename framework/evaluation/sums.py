"""What evaluation carries until the one division at the end: sums and counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.engines.base import Engine


@dataclass(frozen=True)
class Sums:
    """Sums over samples, per group, in float64 on the device that computed them.

    Attributes:
        counts: (groups,) number of samples.
        measures: name -> (groups,) sum of the per-sample measure.
        statistics: name -> the task's own sums, of any fixed shape.
    """

    counts: Tensor
    measures: dict[str, Tensor]
    statistics: dict[str, Tensor]

    @staticmethod
    def of(
        measures: dict[str, Tensor], statistics: dict[str, Tensor], groups: Tensor, num_groups: int
    ) -> Sums:
        """The sums of one batch: `measures` (batch,) each, `groups` (batch,) ids below `num_groups`."""

        def per_group(values: Tensor) -> Tensor:
            assert values.shape == groups.shape, f"a measure must be per sample; got {tuple(values.shape)}"
            zeros = torch.zeros(num_groups, dtype=torch.float64, device=groups.device)
            return zeros.index_add_(0, groups, values.detach().to(torch.float64))

        return Sums(
            counts=per_group(torch.ones_like(groups)),
            measures={name: per_group(values) for name, values in measures.items()},
            statistics={name: total.detach().to(torch.float64) for name, total in statistics.items()},
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            counts=self.counts + other.counts,
            measures={name: total + other.measures[name] for name, total in self.measures.items()},
            statistics={name: total + other.statistics[name] for name, total in self.statistics.items()},
        )

    def emptied(self) -> Sums:
        """The same names and shapes with nothing counted."""
        return self._unflatten(torch.zeros_like(self._flatten()))

    def all_sum(self, engine: Engine) -> Sums:
        """The sums over all ranks, by one collective on one flat vector."""
        return self._unflatten(engine.all_sum(self._flatten()))

    def _parts(self) -> list[Tensor]:
        return [self.counts, *self.measures.values(), *self.statistics.values()]

    def _flatten(self) -> Tensor:
        return torch.cat([part.flatten() for part in self._parts()])

    def _unflatten(self, flat: Tensor) -> Sums:
        parts = self._parts()
        pieces = torch.split(flat, [part.numel() for part in parts])
        shaped = iter([piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)])
        return Sums(
            counts=next(shaped),
            measures={name: next(shaped) for name in self.measures},
            statistics={name: next(shaped) for name in self.statistics},
        )
