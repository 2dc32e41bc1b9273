"""Which training samples a model gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from framework.artifacts.base import Artifact, Which
from framework.artifacts.rows import rows_of, write_array
from framework.config.schema import RunConfig
from framework.data.batch import Batch
from framework.errors import TrainingError
from framework.registry import register

if TYPE_CHECKING:
    from framework.checkpoint.checkpoint import Checkpoint
    from framework.training.assemble import Run


@register.artifact("errors")
class Errors(Artifact):
    """1 for each training sample that the model misclassifies, else 0: the error set of JTT.

    Just Train Twice (Liu et al., ICML 2021, arXiv 2107.09044) takes it from the last epoch of a short
    first run; `data.sampling.name=repeated` of the second run reads it. (samples,) int64.

    Args:
        checkpoint: the last one, as the paper takes it, or the selected one.
    """

    def __init__(self, *, checkpoint: Which = "latest") -> None:
        self.checkpoint = checkpoint

    def objection(self, config: RunConfig) -> str:
        if config.task.name in ("regression", "language_modeling"):
            return f"errors are those of a classifier; the task is {config.task.name}"
        return ""

    def write(self, run: Run, checkpoint: Checkpoint, path: Path) -> str:
        def correct(outputs: Tensor, batch: Batch) -> Tensor:
            measures = run.task.measures(outputs, batch)
            if "accuracy" not in measures:
                raise TrainingError(f"task {run.config.task.name} does not say which samples are correct")
            return measures["accuracy"]

        wrong = rows_of(run, "train", correct) < 1
        count = int(wrong.sum())
        if not count:
            raise TrainingError(
                f"none of {len(wrong):,} training samples is misclassified at step {checkpoint.step}, so"
                " nothing can be up-weighted: train the first model less (train.epochs), with a smaller"
                " optimizer.lr or a larger optimizer.weight_decay"
            )
        if run.world.is_main:
            write_array(path, wrong.astype(np.int64))
        return f"{count:,} of {len(wrong):,} training samples are misclassified at step {checkpoint.step}"
