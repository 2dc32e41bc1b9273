"""A run from a loaded configuration to an exit code: folder, log, assembly, resume."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from framework.checkpoint.checkpoint import Checkpoint, open_checkpoint
from framework.checkpoint.resume import resume_point
from framework.checkpoint.store import CheckpointStore
from framework.conduct import conduct
from framework.config.load import LoadedConfig, save
from framework.config.schema import RunConfig
from framework.errors import DataError
from framework.parallel import flight_recorder
from framework.parallel.collectives import all_items, on_main
from framework.parallel.process_group import device_of, process_group
from framework.parallel.standstill import Standstill
from framework.parallel.world import World
from framework.registry import registry
from framework.reporting.fanout import Reporters
from framework.reporting.jsonl import JsonLines
from framework.reporting.log_file import log_path, open_log
from framework.run_folder import (
    Finding,
    RunFolder,
    environment,
    examine,
    record_environment,
    truncate_metrics,
)
from framework.run_folder.metrics import METRICS
from framework.training.assemble import assemble
from framework.training.check import check as rehearsal
from framework.training.check import rehearse
from framework.training.stop_signal import StopSignal


def train(loaded: LoadedConfig) -> int:
    """Train, evaluate and select; returns 0 when the run is complete, 75 when a signal interrupted it.

    Raises:
        UserError: the configuration, the data or a checkpoint does not allow the run, or training
            cannot go on; the run folder says so too.
    """
    config, world = loaded.config, World.detect()
    with (
        process_group(world, config.launch.timeout_seconds) as agreement,
        StopSignal(world) as signals,
        ExitStack() as stack,
    ):
        mine: list[RunFolder] = []
        folder = on_main(lambda: _open_folder(stack, loaded, mine), world)
        stack.enter_context(open_log(folder.path, world.rank))
        log = log_path(folder.path, world.rank)
        on_gpu = world.size > 1 and device_of(world).type == "cuda"
        exchanges = flight_recorder.dump_into(folder.path, world.rank) if on_gpu else None
        signals.sign_of_life = stack.enter_context(
            Standstill(log, world, config.launch.timeout_seconds, exchanges)
        ).sign_of_life
        reporters = _reporters(config, folder.path, world)
        store = CheckpointStore(folder.checkpoints)
        run = assemble(config, dir=folder.path, store=store, reporters=reporters, world=world)
        run.meta = {"config": loaded.data, "data": _same_data(run.data.fingerprint(), world)}
        # Rank 0 verifies what it finds and passes over what is damaged; all read the same one.
        found = on_main(lambda: _path_of(resume_point(folder)), world)
        checkpoint = open_checkpoint(found, verify=False) if found is not None else None
        if checkpoint is None:
            rehearse(run)
        else:
            run.load(checkpoint)
        resumed_at = checkpoint.step if checkpoint is not None else None
        on_main(lambda: _write_start(mine[0], loaded, run.saved_step), world)
        return conduct(run, folder, reporters, signals, agreement, resumed_at)


def _same_data(fingerprint: str, world: World) -> str:
    """The fingerprint of the data of every rank.

    Raises:
        DataError: the ranks do not have the same data.
    """
    if len(set(all_items([fingerprint], world))) > 1:
        raise DataError(
            "the processes of this run read different data: files differ between the machines, or one of them"
            " could not read what another one could"
        )
    return fingerprint


def check(loaded: LoadedConfig) -> list[tuple[str, str]]:
    """Rehearse the run on as many processes as were started; returns label and text of what is known of it.

    Raises:
        UserError: whatever would stop the run.
    """
    config, world = loaded.config, World.detect()
    with process_group(world, config.launch.timeout_seconds):
        begun = on_main(
            lambda: examine(
                config.name,
                loaded.data,
                dir=config.run.dir,
                overwrite=config.run.overwrite,
                resume=config.resume,
            ),
            world,
        )
        found = on_main(lambda: _path_of(resume_point(begun)), world)
        return rehearsal(loaded, world, None if found is None else open_checkpoint(found, verify=False))


def _open_folder(stack: ExitStack, loaded: LoadedConfig, mine: list[RunFolder]) -> Finding:
    """Open it on this rank; what the others must know of it."""
    config = loaded.config
    opened = stack.enter_context(
        RunFolder.open(
            config.name,
            loaded.data,
            dir=config.run.dir,
            overwrite=config.run.overwrite,
            resume=config.resume,
        )
    )
    mine.append(opened)
    return Finding(opened.path, opened.continued, opened.source)


def _path_of(checkpoint: Checkpoint | None) -> Path | None:
    return None if checkpoint is None else checkpoint.path


def _reporters(config: RunConfig, dir: Path, world: World) -> Reporters:
    """Rank 0 reports for all."""
    if not world.is_main:
        return Reporters()
    chosen = [registry.build("reporter", reporter, run_dir=dir) for reporter in config.reporters]
    return Reporters([JsonLines(dir), *chosen])


def _write_start(folder: RunFolder, loaded: LoadedConfig, saved_step: int) -> None:
    if not folder.continued:
        folder.begin()
        save(loaded, folder.path)
    # After another run's checkpoint, records of an earlier start belong to a course that was lost whole.
    truncate_metrics(folder.path / METRICS, saved_step if saved_step >= 0 else None)
    record_environment(folder.path, environment(seed=loaded.config.seed))
