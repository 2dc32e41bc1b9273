"""Measures a model on one split."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from framework.data.batch import Batch
from framework.engines.base import Engine
from framework.errors import DataError
from framework.evaluation.averages import Groups, Record, averages
from framework.evaluation.sums import Sums
from framework.tasks.base import Task

#: with more numbers than this (100 classes by 100) a task's sums are left out of a record
MAX_STATISTIC = 10_000


class NoSamplesError(DataError):
    """There is nothing to evaluate."""


def evaluate(
    engine: Engine,
    task: Task,
    batches: Iterable[Batch],
    groups: Groups,
    split: str,
    *,
    keep_statistics: bool = False,
) -> Record:
    """The `evaluation` record of a split: overall, per group, worst group, averages over groups.

    With `keep_statistics` the record also holds the task's sums (confusion, calibration bins) as nested
    lists under `statistics`, those of at most `MAX_STATISTIC` numbers.

    The caller is inside `engine.evaluation_weights()`, so that several splits share one exchange of
    the weights. Gradients are off, and RNG and buffers are put back at the end, so training goes on as
    if nothing had happened. Every rank passes the same number of batches (at least one), its own share
    of the split, and gets the same record; `step` and `epoch` are the caller's to add.

    Raises:
        NoSamplesError: the batches hold no samples; the same on every rank.
    """
    started = time.perf_counter()
    total: Sums | None = None
    # The loader itself draws from the global RNG when it starts, so it runs inside too. no_grad rather
    # than inference_mode: sharded and compiled models keep tensors that training uses afterwards.
    with engine.preserved_state(), torch.no_grad():
        for batch in batches:
            sums = _batch_sums(engine, task, batch, len(groups.names))
            total = sums if total is None else total + sums
        if total is None:
            raise NoSamplesError(f"split '{split}' has no samples to evaluate")
        total = total.all_sum(engine)
        if not total.counts.sum().item():
            raise NoSamplesError(f"split '{split}' has no samples to evaluate")
        record: Record = {"event": "evaluation", "split": split} | averages(total, groups, task.maximize)
        summary = task.summarize(total.statistics) if total.statistics else {}
    assert not summary.keys() & record.keys(), (
        f"metrics named twice: {sorted(summary.keys() & record.keys())}"
    )
    if keep_statistics:
        kept = {name: table for name, table in total.statistics.items() if table.numel() <= MAX_STATISTIC}
        record["statistics"] = {name: table.tolist() for name, table in kept.items()}
    return record | summary | {"seconds": time.perf_counter() - started}


def _batch_sums(engine: Engine, task: Task, batch: Batch, num_groups: int) -> Sums:
    """The sums of the valid rows; filler rows go through the model and are dropped right after it."""
    rows = batch.valid.nonzero().squeeze(1)  # of a loader's batch, so on the CPU: no wait for the device
    num_rows = len(batch)
    batch = batch.to(engine.device)
    outputs = engine.forward(batch.inputs)
    if len(rows) == 0:
        # Only filler, on this rank: measured for the names and shapes that all ranks must share.
        batch = replace(batch, groups=torch.zeros_like(batch.groups))
        return _measure(task, outputs, batch, num_groups).emptied()
    if len(rows) < num_rows:
        rows = rows.to(engine.device)
        outputs, batch = outputs[rows], batch.take(rows)
    return _measure(task, outputs, batch, num_groups)


def _measure(task: Task, outputs: Tensor, batch: Batch, num_groups: int) -> Sums:
    measures = task.measures(outputs, batch)
    if "loss" not in measures:
        measures = {"loss": task.losses(outputs, batch), **measures}
    return Sums.of(measures, task.statistics(outputs, batch), batch.groups, num_groups)
