"""A run from a loaded configuration to an exit code: folder, log, resume, training, outcome."""

from __future__ import annotations

import logging
from pathlib import Path

from framework.checkpoint.resume import resume_point
from framework.checkpoint.store import CheckpointStore
from framework.config.load import LoadedConfig, save
from framework.errors import EXIT_OK, EXIT_REQUEUE, UserError
from framework.registry import registry
from framework.reporting.fanout import Reporters
from framework.reporting.jsonl import FILE_NAME, JsonLines
from framework.reporting.log_file import open_log
from framework.run_folder import RunFolder, environment, record_environment, truncate_metrics
from framework.training.assemble import Run, assemble
from framework.training.check import describe, rehearse
from framework.training.guards import StopSignal
from framework.training.hooks import RunHeader
from framework.training.loop import fit

logger = logging.getLogger("framework")


def train(loaded: LoadedConfig) -> int:
    """Train, evaluate and select; returns 0 when the run is complete, 75 when a signal interrupted it.

    Raises:
        UserError: the configuration, the data or a checkpoint does not allow the run, or training
            cannot go on; the run folder says so too.
    """
    config = loaded.config
    with (
        StopSignal() as signals,
        RunFolder.open(
            config.name,
            loaded.data,
            dir=config.run.dir,
            overwrite=config.run.overwrite,
            resume=config.resume,
        ) as folder,
        open_log(folder.path),
    ):
        store = CheckpointStore(folder.checkpoints)
        reporters = Reporters([JsonLines(folder.path)])
        reporters.extend(
            registry.build("reporter", reporter, run_dir=folder.path) for reporter in config.reporters
        )
        run = assemble(config, dir=folder.path, store=store, reporters=reporters)
        run.meta = {"config": loaded.data, "data": run.data.fingerprint()}
        checkpoint = resume_point(folder)
        if checkpoint is None:
            rehearse(run)
        else:
            run.load(checkpoint)
        if not folder.continued:
            save(loaded, folder.path)
        # After another run's checkpoint, records of an earlier start belong to a course that was lost whole.
        truncate_metrics(folder.path / FILE_NAME, run.saved_step if run.saved_step >= 0 else None)
        record_environment(folder.path, environment(seed=config.seed))
        return _conduct(
            run, folder, reporters, signals, resumed_at=checkpoint.step if checkpoint is not None else None
        )


def _conduct(
    run: Run, folder: RunFolder, reporters: Reporters, signals: StopSignal, resumed_at: int | None
) -> int:
    """Run the loop; whatever happens, the reporters are closed and the folder says how it ended."""
    outcome, reason = "failed", ""
    try:
        folder.set_status("running", run.progress.step)
        reporters.start(_header(run, folder.path, resumed_at))
        run.report(
            {"event": "run", "step": run.progress.step, "epoch": run.progress.epoch, "resumed_at": resumed_at}
        )
        logger.info("starts at step %d of %d", run.progress.step, run.progress.num_steps)
        ended = fit(run, signals)
        reporters.sync()
        outcome, reason = ended, signals.received or ""
    except BaseException as error:
        reason = str(error) or type(error).__name__
        # The message itself is printed where the process ends.
        logger.error("the run ends at step %d: %s", run.progress.step, reason, extra={"on_console": False})
        raise
    finally:
        run.loader.close()
        folder.set_status(outcome, run.progress.step, reason)  # type: ignore[arg-type]
        try:
            reporters.close(outcome)
        except UserError as error:
            # All records are safe, or there is an earlier error, which must not be hidden behind this one.
            logger.warning("%s", error)
    if outcome == "interrupted":
        logger.warning(
            "stopped by %s at step %d; run.dir=%s goes on from there", reason, run.progress.step, folder.path
        )
        return EXIT_REQUEUE
    logger.info("%s at step %d", outcome, run.progress.step)
    return EXIT_OK


def _header(run: Run, dir: Path, resumed_at: int | None) -> RunHeader:
    return RunHeader(
        name=run.config.name,
        dir=dir,
        num_steps=run.progress.num_steps,
        steps_per_epoch=run.progress.steps_per_epoch,
        resumed_at=resumed_at,
        summary=tuple(describe(run)),
    )
