"""How far a run is, and the sums since the last logged record."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Progress:
    """Counts what was done. One object per run, moved only by the loop.

    Attributes:
        step: optimizer steps taken, skipped ones included: every one consumed its batch.
        samples: training samples consumed.
        skipped: steps in a row that the guard skipped, up to now.
        settled: the last step whose record, evaluation and selection are complete. It lags behind
            `step` in a checkpoint that a signal caused in the middle of an evaluation.
        best_step: step of the selected checkpoint so far, or None.
        stopped: whether early stopping ended the run.
    """

    def __init__(self, num_steps: int, steps_per_epoch: int) -> None:
        self.num_steps = num_steps
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.samples = 0
        self.skipped = 0
        self.settled = 0
        self.best_step: int | None = None
        self.stopped = False

    @property
    def epoch(self) -> int:
        """Finished passes over the training data."""
        return self.step // self.steps_per_epoch

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step was the last of its pass."""
        return self.step % self.steps_per_epoch == 0

    @property
    def done(self) -> bool:
        """Whether no step is left to take."""
        return self.stopped or self.step >= self.num_steps

    def state_dict(self) -> dict[str, Any]:
        """All counters; the planned lengths are the configuration's and are not saved."""
        return {
            "step": self.step,
            "samples": self.samples,
            "skipped": self.skipped,
            "settled": self.settled,
            "best_step": self.best_step,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all counters."""
        for name in self.state_dict():
            setattr(self, name, state[name])


class Meter:
    """Sums of the steps since the last record: sums and counts travel, the record divides once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Start a new record."""
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.objective = torch.zeros((), dtype=torch.float64, device=self.device)
        self.samples = 0
        self.steps = 0

    def add(self, loss: Tensor, objective: Tensor, num_samples: int) -> None:
        """Count one step that was not skipped: sum of losses, sum of weight x loss, samples."""
        self.loss = self.loss + loss
        self.objective = self.objective + objective
        self.samples += num_samples
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The open sums, so that a resumed run writes the very record it would have written."""
        return {
            "loss": self.loss,
            "objective": self.objective,
            "samples": self.samples,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the open sums."""
        self.loss = state["loss"].to(self.device)
        self.objective = state["objective"].to(self.device)
        self.samples, self.steps = state["samples"], state["steps"]
