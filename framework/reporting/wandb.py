"""Numbers to Weights & Biases, online or into files that `wandb sync` sends later."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path
from typing import Any, Literal

import yaml

from framework.errors import UserError
from framework.registry import register
from framework.reporting.scalars import scalars
from framework.reporting.tracker_identity import Identity
from framework.run_folder.same_run import CONFIG
from framework.training.hooks import Record, Reporter, RunHeader

#: seconds that the start and the end of a run wait for a server that does not answer
PATIENCE = 30.0


@register.reporter("wandb")
class WandbReporter(Reporter):
    """Curves and the resolved configuration in Weights & Biases; a resume goes on with the same run id.

    Every curve has the optimizer step as its axis. A process of wandb's own sends in the background, so
    a server that is slow or down does not delay training.

    Args:
        project: name of the project; null takes the run's name.
        entity: user or team; null takes your default.
        mode: `online`, or `offline`: files under wandb/ in the run folder, for `wandb sync`; null takes the
            environment variable WANDB_MODE, or else `online`.
        groups: also send every measure of every group.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        project: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        groups: bool = True,
    ) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise UserError("reporter wandb needs a package: pip install framework[wandb]")
        self._dir = run_dir
        self._project = project
        self._entity = entity
        self._mode = mode
        self._groups = groups
        self._identity = Identity(run_dir, "wandb")
        self._run: Any = None

    def start(self, header: RunHeader) -> None:
        """Open the run, or go on with it.

        Raises:
            UserError: nobody is logged in.
        """
        import wandb

        kept = self._identity.read()
        run_id = kept.get("run_id") or secrets.token_hex(4)
        self._identity.write({"run_id": run_id})
        config = yaml.safe_load((self._dir / CONFIG).read_text(encoding="utf-8"))
        try:
            self._run = wandb.init(
                project=self._project or header.name,
                entity=self._entity,
                name=self._dir.name,
                id=run_id,
                resume="allow",
                dir=self._dir,
                mode=self._mode,
                config=config,
                # The run has its own log, and signals of its own meaning.
                settings=wandb.Settings(
                    console="off",
                    quiet=True,
                    silent=True,
                    init_timeout=PATIENCE,
                    finish_timeout=PATIENCE,
                    finish_timeout_raises=False,
                ),
            )
        except wandb.errors.UsageError as error:
            message = f"reporter wandb: {error}; log in with `wandb login`, or set its mode to offline"
            raise UserError(message) from error
        self._run.define_metric("*", step_metric="step")

    def record(self, record: Record) -> None:
        """Hand over the numbers of a record with a step."""
        if self._run is None or "step" not in record:
            return
        numbers = dict(scalars(record, groups=self._groups))
        if numbers:
            self._run.log({**numbers, "step": record["step"], "epoch": record.get("epoch")})

    def close(self, outcome: str) -> None:
        """Say how the run ended, and wait a little for what was not sent yet."""
        if self._run is not None:
            self._run.finish(exit_code=int(outcome not in ("finished", "stopped")))
            self._run = None
