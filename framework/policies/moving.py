"""A running mean of exponentials, kept as a logarithm so that no loss is too large for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class MovingLogMean:
    """u <- (1 - rate) u + rate * mean_i exp(x_i), as log u; the first batch is taken over whole.

    A batch moves u before it is divided by it, so exp(x_i) / u never exceeds n / rate.
    """

    def __init__(self, rate: float) -> None:
        self.log_kept = math.log1p(-rate) if rate < 1 else -math.inf
        self.log_rate = math.log(rate)

    def start(self) -> tuple[Tensor, Tensor]:
        """(log u, whether a batch was seen), scalars on the CPU."""
        return torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.bool)

    def move(self, log_mean: Tensor, started: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The pair after a batch of exponents x (n,), float64."""
        newest = logits.logsumexp(0) - math.log(len(logits))
        moved = torch.logaddexp(log_mean + self.log_kept, newest + self.log_rate)
        return torch.where(started, moved, newest), torch.ones_like(started)

    def ratios(self, log_mean: Tensor, started: Tensor, logits: Tensor) -> Tensor:
        """exp(x) / u, (n,); by the mean of these exponents themselves before any batch was seen."""
        own = logits.logsumexp(0) - math.log(len(logits))
        return (logits - torch.where(started, log_mean, own)).exp()
