"""Train until done: next global batch, step, and what falls due between two steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Literal

from framework.data.batch import Batch
from framework.errors import TrainingError
from framework.evaluation.evaluate import evaluate
from framework.evaluation.policy_record import policy_record
from framework.training.assemble import Run
from framework.training.hooks import Record
from framework.training.step import StepResult
from framework.training.stop_signal import StopRequested, StopSignal

logger = logging.getLogger("framework.loop")


def fit(run: Run, signals: StopSignal) -> Literal["finished", "stopped", "interrupted"]:
    """Train from where the run stands to its end; returns `finished`, `stopped` (early) or `interrupted`.

    Raises:
        TrainingError: too many steps in a row gave non-finite numbers.
    """
    try:
        for callback in run.callbacks:
            callback.on_start(run)
        _train(run, signals)
        _measure_selected(run, signals)
    except StopRequested as request:
        _tell_stop(run, f"received {request}")
        if run.progress.step > run.saved_step:
            _save(run)
        _collect(run, wait=True)
        return "interrupted"
    except TrainingError as error:
        _tell_stop(run, str(error))
        raise
    finally:
        for callback in run.callbacks:
            callback.on_end(run)
    return "stopped" if run.progress.stopped else "finished"


def _train(run: Run, signals: StopSignal) -> None:
    _settle(run, signals)
    while not run.progress.done:
        advance(run, signals)
    if run.progress.step > run.saved_step:
        _save(run)  # it started from another run's last checkpoint and had nothing to add


def advance(run: Run, signals: StopSignal) -> None:
    """One step and whatever falls due after it.

    Raises:
        StopRequested: a signal came; the step before it is complete.
        CheckpointError: what was being written since an earlier step could not be.
    """
    progress = run.progress
    signals.check()
    _collect(run, wait=False)
    if progress.at_epoch_end or run.last is None:
        for callback in run.callbacks:
            callback.on_epoch_start(run)
    batch = next(run.loader)
    _tell_left_out(run, progress.step + 1)
    run.schedule.apply(run.engine.optimizer, progress.step)
    if progress.step == run.config.train.reset_optimizer_after:
        run.engine.forget_moments()
    run.step.gather.signals = signals
    result = run.step(batch)
    progress.step += 1
    progress.samples += batch.num_samples
    _note(run, result, batch.num_samples)
    for callback in run.callbacks:
        callback.on_step(run)
    if progress.at_epoch_end:
        for callback in run.callbacks:
            callback.on_epoch_end(run)
    _settle(run, signals)


def _tell_left_out(run: Run, step: int) -> None:
    """Name once what cannot be read and so counts nowhere."""
    if run.data.quarantine is None:
        return
    for split, fault in run.data.quarantine.news():
        size, total = len(fault.positions), run.data.quarantine.count(split)
        if run.world.is_main:
            logger.warning("%s: %s; %d samples of %s left out", fault.name, fault.reason, size, split)
        run.report(
            {
                "event": "quarantine", "step": step, "epoch": run.progress.epoch, "split": split,
                "name": fault.name, "reason": fault.reason, "samples": size, "total": total,
            }
        )  # fmt: skip


def _note(run: Run, result: StepResult, num_samples: int) -> None:
    run.last = result
    if not result.taken:
        index = result.samples.index[~result.samples.loss.isfinite()]
        run.report(
            {
                "event": "skip",
                "step": run.progress.step,
                "epoch": run.progress.epoch,
                "samples": index.tolist(),
            }
        )
    else:
        run.meter.add(result.samples.loss.sum(), result.objective, num_samples)
    run.reporters.progress(run.progress.step, run.progress.epoch)


def _settle(run: Run, signals: StopSignal) -> None:
    """Write, evaluate, select and save what falls due at this step, unless that was done before a restart."""
    progress, config = run.progress, run.config
    if progress.settled == progress.step:
        return
    if run.meter.steps and (progress.step % config.log.every_steps == 0 or progress.done):
        run.report(_train_record(run))
        numbers = run.policy.numbers()
        if numbers:
            run.report(policy_record(numbers, run.data.policy_groups.names, progress.step, progress.epoch))
        run.meter.reset()
    improved = False
    cadence = (config.evaluate.every_steps, config.evaluate.every_epochs)
    if _due(run, *cadence) or (progress.done and cadence != (None, None)):
        improved = _evaluate_and_select(run, signals)
    progress.settled = progress.step
    if improved or progress.done or _due(run, config.checkpoint.every_steps, config.checkpoint.every_epochs):
        _save(run)


def _due(run: Run, every_steps: int | None, every_epochs: int | None) -> bool:
    progress = run.progress
    by_step = every_steps is not None and progress.step % every_steps == 0
    by_epoch = every_epochs is not None and progress.at_epoch_end and progress.epoch % every_epochs == 0
    return by_step or by_epoch


def _train_record(run: Run) -> Record:
    """Sums over sums: every loss of the steps since the last record counts once."""
    progress, meter, last = run.progress, run.meter, run.last
    record: Record = {
        "event": "train",
        "step": progress.step,
        "epoch": progress.epoch,
        "loss": float(meter.loss) / meter.samples,
        "objective": float(meter.objective) / meter.steps,
        "lr": float(run.engine.optimizer.param_groups[0]["lr"]),
        "samples": progress.samples,
    }
    if last is not None and last.taken and last.weights is not None:
        weights = last.weights.double()
        if run.config.regularizers:
            record["penalty"] = float(last.penalty)
        record["gradient_norm"] = float(last.gradient_norm)
        record["effective_sample_size"] = float(weights.sum() ** 2 / (weights**2).sum())
        record["largest_weight"] = float(weights.max())
    record["elapsed_seconds"] = time.monotonic() - run.started
    return record


def _evaluate_and_select(run: Run, signals: StopSignal) -> bool:
    """Measure the declared splits; whether the selection metric improved."""
    # All splits are measured before the first record is written: an interrupted evaluation leaves none.
    records = [_measure(run, split, signals) for split in run.config.evaluate.splits]
    improved = False
    for record in records:
        if record["split"] == run.config.select.split:
            improved = run.selector.consider(record, run.progress.step)
            record["best"] = improved
        run.report(record)
        for callback in run.callbacks:
            callback.on_evaluation(run, record)
    if improved:
        run.progress.best_step = run.progress.step
    elif run.selector.should_stop:
        run.progress.stopped = True
        rule = run.config.select
        _tell_stop(run, f"{rule.metric} has not improved for {rule.patience} evaluations")
    return improved


def _measure(run: Run, split: str, signals: StopSignal, *, keep_statistics: bool = False) -> Record:
    loader = run.data.evaluation_loader(split, run.config.evaluate.batch_size, run.world)
    batches = _interruptible(loader, signals)
    with run.engine.evaluation_weights():
        record = evaluate(
            run.engine, run.task, batches, run.data.groups, split, keep_statistics=keep_statistics
        )
    if run.data.quarantine is not None:
        run.data.quarantine.agree(split, loader.maker.take_found())
        _tell_left_out(run, run.progress.step)
        record["left_out"] = loader.num_samples - record["num_samples"]
    return {"event": "evaluation", "step": run.progress.step, "epoch": run.progress.epoch} | record


def _interruptible(batches: Iterable[Batch], signals: StopSignal) -> Iterator[Batch]:
    for batch in batches:
        signals.check()
        yield batch


def _measure_selected(run: Run, signals: StopSignal) -> None:
    """Measure the final splits once, at the selected checkpoint."""
    progress = run.progress
    selected = progress.best_step if progress.best_step is not None else progress.step
    _collect(run, wait=True)
    if selected != progress.step:
        assert run.store is not None
        with run.engine.true_point():
            run.engine.load_state_dict(run.store.load(selected).parts.stored("engine"))
    records = [
        _measure(run, split, signals, keep_statistics=True)
        for split in run.config.evaluate.final
        if split in run.data.splits
    ]
    for record in records:
        run.report({**record, "final": True, "selected_step": selected})


def _save(run: Run) -> None:
    progress = run.progress
    if run.store is None:
        return
    _collect(run, wait=True)
    # The record precedes the checkpoint: after a kill between the two, the record is dropped with the step.
    run.report({"event": "checkpoint", "step": progress.step, "epoch": progress.epoch})
    run.reporters.sync()
    run.save()
    if not run.config.checkpoint.asynchronous:
        _collect(run, wait=True)


def _collect(run: Run, *, wait: bool) -> None:
    """Tell of the checkpoint that was published meanwhile."""
    path = run.collect(wait=wait)
    if path is not None:
        for callback in run.callbacks:
            callback.on_checkpoint(run, path)


def _tell_stop(run: Run, reason: str) -> None:
    for callback in run.callbacks:
        callback.on_stop(run, reason)
