"""What a task gives: per-sample losses, and sums from which every metric is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from torch import Tensor

from framework.data.batch import Batch


class Task(ABC):
    """Turns outputs and targets into per-sample losses and measures. It never reduces over samples.

    Attributes:
        maximize: the measures and metrics of which more is better, and so of a measure's averages; of all
            others less is better.
        gives_log_probability: whether exp(-loss) is the probability that the model gives to the target of
            the sample: so for an unsmoothed cross-entropy of one target, not for a mean over tokens.
    """

    maximize: frozenset[str] = frozenset()
    gives_log_probability: bool = False

    @abstractmethod
    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Training losses (micro,), float32, with gradient."""

    def columns(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Further numbers per sample (micro,), detached, that the policy finds in `SampleLosses.extra`."""
        return {}

    def column_names(self, available: Collection[str]) -> tuple[str, ...]:
        """The names of `columns`, where the data has columns of the names `available`."""
        return ()

    @abstractmethod
    def measures(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Per-sample numbers (micro,) that are averaged per group and overall, e.g. `loss`, `accuracy`."""

    def statistics(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Sums over the samples, of a fixed shape, for metrics that are no averages (confusion, bins)."""
        return {}

    def summarize(self, statistics: dict[str, Tensor]) -> dict[str, float]:
        """Metrics by name from the `statistics` of a whole split."""
        return {}
