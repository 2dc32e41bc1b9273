"""A plugin of the tests: a callback and a task at which `tests.triggers` acts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.registry import register
from framework.tasks.classification import Classification
from framework.training.assemble import Run
from framework.training.hooks import Callback, Record
from tests import triggers


@register.callback("probe")
class Probe(Callback):
    """Counts every event, keeps the counts through a restart, and notes the order of this process's."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seen: list[str] = []

    def _note(self, event: str, run: Run, *, counted: bool = True) -> None:
        triggers.STEP[0] = run.progress.step
        if counted:
            self.counts[event] += 1
        self.seen.append(f"{event} {run.progress.step}")
        triggers.reach(event, run)

    def on_start(self, run: Run) -> None:
        self._note("start", run, counted=False)

    def on_epoch_start(self, run: Run) -> None:
        self._note("epoch_start", run, counted=False)

    def on_step(self, run: Run) -> None:
        self._note("step", run)
        run.report({"event": "probe", "step": run.progress.step, "counts": dict(sorted(self.counts.items()))})

    def on_evaluation(self, run: Run, record: Record) -> None:
        self._note("evaluation", run)

    def on_checkpoint(self, run: Run, path: Path) -> None:
        self._note("checkpoint", run, counted=False)

    def on_epoch_end(self, run: Run) -> None:
        self._note("epoch_end", run)

    def on_stop(self, run: Run, reason: str) -> None:
        self._note("stop", run, counted=False)
        self.seen[-1] += f": {reason}"

    def on_end(self, run: Run) -> None:
        self._note("end", run, counted=False)

    def state_dict(self) -> dict[str, Any]:
        triggers.reach("saving")
        return {"counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = Counter(state["counts"])


@register.task("probed")
class Probed(Classification):
    """Classification whose losses a test can spoil or interrupt, in training and in evaluation."""

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        losses = super().losses(outputs, batch)
        place = "losses" if torch.is_grad_enabled() else "measuring"
        changed = triggers.reach(place, losses, outputs, batch)
        return losses if changed is None else changed
