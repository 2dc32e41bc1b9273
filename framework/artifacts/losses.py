"""Losses of a model on its training samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from framework.artifacts.base import Artifact, Which
from framework.artifacts.rows import rows_of, write_array
from framework.config.schema import RunConfig
from framework.data.batch import Batch
from framework.errors import TrainingError
from framework.registry import register
from framework.tasks.language_modeling import LanguageModeling

if TYPE_CHECKING:
    from framework.checkpoint.checkpoint import Checkpoint
    from framework.training.assemble import Run


@register.artifact("losses")
class Losses(Artifact):
    """The loss of each training sample, or token, as the transform `extra_column` reads it.

    The reference losses of DoReMi (arXiv 2305.10429): `per: token` for the column `token_baseline_loss`,
    `per: sample` for `baseline_loss`. (samples,) or (samples, tokens) float32, 0 where no token counts.
    Unlike in the authors' code the model is in evaluation mode, without dropout.

    Args:
        per: what has a loss.
        checkpoint: the selected or the last one; a model that has passed over its text many times knows it
            by heart at the end, and its losses no longer say what can be learnt.
    """

    def __init__(self, *, per: Literal["sample", "token"] = "sample", checkpoint: Which = "best") -> None:
        self.per = per
        self.checkpoint = checkpoint

    def objection(self, config: RunConfig) -> str:
        if self.per == "token" and config.task.name in ("classification", "regression"):
            return f"losses per token are those of a language model; the task is {config.task.name}"
        return ""

    def write(self, run: Run, checkpoint: Checkpoint, path: Path) -> str:
        task = run.task
        if self.per == "token" and not isinstance(task, LanguageModeling):
            raise TrainingError(f"task {run.config.task.name} has no losses per token; use per=sample")

        def losses(outputs: Tensor, batch: Batch) -> Tensor:
            if self.per == "token":
                assert isinstance(task, LanguageModeling)
                return task.token_losses(outputs, batch)
            measures = task.measures(outputs, batch)
            return measures["loss"] if "loss" in measures else task.losses(outputs, batch)

        values = rows_of(run, "train", losses).astype(np.float32)
        if not np.isfinite(values).all():
            raise TrainingError(f"the model of step {checkpoint.step} has losses that are not finite")
        if run.world.is_main:
            write_array(path, values)
        shape = " x ".join(f"{size:,}" for size in values.shape)
        return f"{shape} losses at step {checkpoint.step}"
