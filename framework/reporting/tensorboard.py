"""Numbers as TensorBoard event files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.registry import register
from framework.reporting.scalars import scalars
from framework.training.hooks import Record, Reporter, RunHeader


@register.reporter("tensorboard")
class TensorboardReporter(Reporter):
    """Scalars of training, evaluation (per group too) and policy under tensorboard/ in the run folder.

    Args:
        groups: also write every measure of every group.
    """

    def __init__(self, run_dir: Path, *, groups: bool = True) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("reporter tensorboard needs a package: pip install framework[tensorboard]")
        self._dir = run_dir / "tensorboard"
        self._groups = groups
        self._writer: Any = None

    def start(self, header: RunHeader) -> None:
        """Open an event file; after a resume, readers are told to forget what came after the checkpoint."""
        from torch.utils.tensorboard import SummaryWriter

        purge_step = None if header.resumed_at is None else header.resumed_at + 1
        self._writer = SummaryWriter(log_dir=str(self._dir), purge_step=purge_step)
        if header.resumed_at is None:
            lines = [f"**{label}** {text}" for label, text in header.summary]
            self._writer.add_text("run", "\n\n".join(lines), 0)

    def record(self, record: Record) -> None:
        """Write the numbers of a `train`, `evaluation` or `policy` record, and of any other with a step."""
        if self._writer is None or "step" not in record:
            return
        for tag, value in scalars(record, groups=self._groups):
            self._writer.add_scalar(tag, value, record["step"])

    def sync(self) -> None:
        """Hand everything to the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self, outcome: str) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
