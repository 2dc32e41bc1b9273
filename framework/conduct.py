"""The loop of an assembled run, and what is left whatever happens: log, status, report, closed reporters."""

from __future__ import annotations

import logging
import os
import platform
import time
from pathlib import Path

from framework.errors import EXIT_OK, EXIT_REQUEUE, UserError
from framework.parallel.agreement import Agreement
from framework.parallel.memory import peak_memory
from framework.reporting.fanout import Reporters
from framework.reporting.report.write import report_at_end
from framework.run_folder import Finding, Status, record_cost
from framework.run_folder.status import STATUS, State
from framework.training.assemble import Run
from framework.training.check import describe
from framework.training.hooks import Record, RunHeader
from framework.training.loop import fit
from framework.training.stop_signal import StopSignal

logger = logging.getLogger("framework")


def conduct(
    run: Run,
    folder: Finding,
    reporters: Reporters,
    signals: StopSignal,
    agreement: Agreement,
    resumed_at: int | None,
) -> int:
    """Run the loop; whatever happens, the reporters are closed and the folder says how it ended.

    Args:
        run: assembled, and at its beginning or at a checkpoint.
        folder: where it is.
        reporters: not started yet.
        signals: what asks the run to stop.
        agreement: by which the processes settle who tells of a failure.
        resumed_at: step of the checkpoint; None for a run that begins.

    Returns:
        0 when the run is complete, 75 when a signal interrupted it.

    Raises:
        UserError: training cannot go on.
    """
    outcome: State = "failed"
    reason = ""
    try:
        _begin(run, folder, reporters, resumed_at)
        with agreement.on_failure():
            ended = fit(run, signals)
            reporters.sync()
        outcome, reason = ended, signals.received or ""
    except BaseException as error:
        reason = str(error) or type(error).__name__
        # The console gets it from whoever catches it, as one message for all processes.
        logger.error(
            "the run ends at step %d: %s",
            run.progress.step,
            reason,
            exc_info=not isinstance(error, UserError),
            extra={"on_console": False},
        )
        if run.saver is not None and isinstance(error, Exception):
            run.saver.abandon()
        raise
    finally:
        _end(run, folder, reporters, outcome, reason)
    if outcome != "interrupted":
        logger.info("%s at step %d", outcome, run.progress.step)
        return EXIT_OK
    if run.world.is_main:
        logger.warning(
            "stopped by %s at step %d; run.dir=%s goes on from there", reason, run.progress.step, folder.path
        )
    return EXIT_REQUEUE


def _begin(run: Run, folder: Finding, reporters: Reporters, resumed_at: int | None) -> None:
    _set_status(run, "running", "")
    reporters.start(_header(run, folder.path, resumed_at))
    run.report(_run_record(run, resumed_at))
    logger.info(
        "rank %d of %d on %s, process %d, starts at step %d of %d",
        run.world.rank,
        run.world.size,
        platform.node(),
        os.getpid(),
        run.progress.step,
        run.progress.num_steps,
    )


def _end(run: Run, folder: Finding, reporters: Reporters, outcome: State, reason: str) -> None:
    """What every end has in common; it raises nothing that would hide why the run ended."""
    run.loader.close()
    if run.world.is_main:
        record_cost(folder.path, {"seconds": time.monotonic() - run.started, **peak_memory()})
    _set_status(run, outcome, reason)
    if outcome in ("finished", "stopped") and run.world.is_main and run.config.run.report:
        report_at_end(run)
    try:
        reporters.close(outcome)
    except UserError as error:
        # All records are safe, or there is an earlier error, which must not be hidden behind this one.
        logger.warning("%s", error)


def _run_record(run: Run, resumed_at: int | None) -> Record:
    """What a reader of the records cannot see in them: how far they will go, and which are better larger."""
    return {
        "event": "run",
        "step": run.progress.step,
        "epoch": run.progress.epoch,
        "resumed_at": resumed_at,
        "num_steps": run.progress.num_steps,
        "steps_per_epoch": run.progress.steps_per_epoch,
        "maximize": sorted(run.task.maximize),
    }


def _set_status(run: Run, state: State, reason: str) -> None:
    if not run.world.is_main:
        return
    assert run.dir is not None
    try:
        Status(state, run.progress.step, reason).write(run.dir)
    except OSError as error:
        # Without a later word the run counts as killed, which is safe; the error that led here matters more.
        logger.warning("%s cannot be written: %s", run.dir / STATUS, error.strerror)


def _header(run: Run, dir: Path, resumed_at: int | None) -> RunHeader:
    return RunHeader(
        name=run.config.name,
        dir=dir,
        num_steps=run.progress.num_steps,
        steps_per_epoch=run.progress.steps_per_epoch,
        resumed_at=resumed_at,
        summary=tuple(describe(run)),
    )
