"""A finished run measured on a further split, at its selected checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from framework.checkpoint.names import BEST, LATEST
from framework.checkpoint.store import CheckpointStore
from framework.config.load import LoadedConfig
from framework.errors import CheckpointError, ConfigError, Problem
from framework.evaluation.evaluate import evaluate
from framework.files import writing
from framework.naming import listed
from framework.parallel.collectives import on_main
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.reporting.jsonl import encode, restore
from framework.reporting.report.read import REPORT
from framework.reporting.report.write import write_report
from framework.run_folder import CHECKPOINTS, read_metrics, require_complete
from framework.run_folder.lock import Lock
from framework.run_folder.metrics import METRICS
from framework.training.assemble import assemble
from framework.training.hooks import Record


def evaluate_run(loaded: LoadedConfig, folder: Path, split: str) -> Record:
    """The `evaluation` record of `split` at the checkpoint that the run selected; all processes call it.

    It is what the run itself would have measured with `split` in `evaluate.final`, and it is added to the
    run's metrics.jsonl and report. A split that is there already is not measured again.

    Raises:
        UserError: the run is not complete or in use, has no such split, or its checkpoint is gone.
    """
    world = World.detect()
    with process_group(world, loaded.config.launch.timeout_seconds), ExitStack() as stack:
        known = on_main(lambda: _open(stack, folder, split), world)
        if known is not None:
            return known
        record = _measure(loaded, folder, split, world)
        on_main(lambda: _add(folder, record), world)
    return record


def _open(stack: ExitStack, folder: Path, split: str) -> Record | None:
    lock = Lock(folder)
    stack.callback(lock.release)
    require_complete(folder, "only a complete run can be evaluated")
    return next((record for record in _finals(folder) if record["split"] == split), None)


def _measure(loaded: LoadedConfig, folder: Path, split: str, world: World) -> Record:
    run = assemble(loaded.config, world=world)
    run.loader.close()
    if split not in run.data.splits:
        message = f"there is no split '{split}' in this data{listed(run.data.splits)}"
        raise ConfigError([Problem("split", message)])
    store = CheckpointStore(folder / CHECKPOINTS)
    checkpoint = store.load(BEST if store.marked(BEST) is not None else LATEST)
    if checkpoint.meta.get("data") != run.data.fingerprint():
        raise CheckpointError(
            f"{checkpoint.path} was written while training on other data: a file of the data section has"
            " changed since then; put the old one back, or train again"
        )
    with run.engine.true_point():
        run.engine.load_state_dict(checkpoint.parts.stored("engine"))
    batches = run.data.evaluation_loader(split, loaded.config.evaluate.batch_size, world)
    with run.engine.evaluation_weights():
        measured = evaluate(run.engine, run.task, batches, run.data.groups, split, keep_statistics=True)
    last = next(record for record in reversed(read_metrics(folder / METRICS)) if "epoch" in record)
    place = {"event": "evaluation", "step": last["step"], "epoch": last["epoch"]}
    return {**place, **measured, "final": True, "selected_step": checkpoint.step}


def _add(folder: Path, record: Record) -> None:
    with writing(folder / METRICS), (folder / METRICS).open("ab") as file:
        file.write(f"{encode(record)}\n".encode(errors="backslashreplace"))
    if (folder / REPORT).is_file():
        write_report(folder)


def _finals(folder: Path) -> list[Record]:
    records = map(restore, read_metrics(folder / METRICS))
    return [record for record in records if record.get("event") == "evaluation" and record.get("final")]
