"""From a validated configuration to a run: plain calls, top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.restore import restore
from framework.checkpoint.rng import Rng
from framework.checkpoint.saver import Order, Saver
from framework.checkpoint.snapshot import snapshot
from framework.checkpoint.store import CheckpointStore
from framework.config.batch_plan import BatchPlan
from framework.config.schema import RunConfig
from framework.data.build import Data, build_data
from framework.data.loader import TrainLoader
from framework.engines.base import Engine
from framework.errors import CheckpointError
from framework.evaluation.select import Selector
from framework.optim.schedules import Schedule
from framework.parallel.collectives import all_items
from framework.parallel.process_group import device_of
from framework.parallel.world import World
from framework.policies.base import Policy
from framework.registry import registry
from framework.stateful import Stateful
from framework.tasks.base import Task
from framework.training.components import build_engine, build_policy, build_regularizers, build_selector
from framework.training.guards import NonFiniteGuard
from framework.training.hooks import Callback, Record, Reporting, Silent
from framework.training.per_rank import PerRank
from framework.training.progress import Meter, Progress
from framework.training.regularization import Regularization
from framework.training.several import Several
from framework.training.step import Step, StepResult

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("framework.assemble")


@dataclass
class Run:
    """Everything of one run, assembled. The loop moves it; callbacks look at it.

    Attributes:
        dir: the run folder, None for a rehearsal that writes nothing.
        saver: writes checkpoints into `store`; None where that is None.
        saved_step: step of the newest checkpoint that this process began to write or read.
        last: what the last step of this process saw.
        started: time.monotonic() at assembly.
    """

    config: RunConfig
    dir: Path | None
    world: World
    data: Data
    plan: BatchPlan
    loader: TrainLoader
    task: Task
    policy: Policy
    engine: Engine
    schedule: Schedule
    step: Step
    progress: Progress
    meter: Meter
    selector: Selector
    callbacks: Sequence[Callback]
    reporters: Reporting
    store: CheckpointStore | None
    saver: Saver | None
    meta: dict[str, Any] = field(default_factory=dict)
    last: StepResult | None = None
    saved_step: int = -1
    started: float = field(default_factory=time.monotonic)

    def stateful(self) -> Mapping[str, Stateful]:
        """The list of all that must survive a restart; what is not here follows from the configuration."""
        return {
            "engine": self.engine,
            "policy": self.policy,
            "data": self.loader,
            "progress": self.progress,
            "meter": self.meter,
            "selector": self.selector,
            "callbacks": Several(self.callbacks),
            "regularizers": Several(self.step.regularization.regularizers),
            "rng": PerRank(Rng(), self.world),
        }

    def report(self, record: Record) -> None:
        """Send one record to every reporter."""
        self.reporters.record(record)

    def save(self) -> None:
        """Begin a checkpoint of this moment, after an earlier one is complete. Every rank calls it.

        With `checkpoint.asynchronous` it is written while training goes on, else before this returns;
        `collect` tells when it is published.

        Raises:
            CheckpointError: the disk is not writable, or the earlier one could not be written; on every rank.
            PluginError: a state holds something that cannot be kept.
        """
        saver, options = self.saver, self.config.checkpoint
        assert saver is not None
        self.collect(wait=True)
        with self.engine.true_point():
            states = {name: part.state_dict() for name, part in self.stateful().items()}
            parts = snapshot(states, copy=options.asynchronous, pieces_only=not self.world.is_main)
            step, best = self.progress.step, self.progress.best_step
            saver.start(Order(step, parts, self.meta, options.keep_last, best))
            if not options.asynchronous:
                saver.wait()
        self.saved_step = step

    def collect(self, *, wait: bool) -> Path | None:
        """The checkpoint that was published since the last call, or None; every rank calls it.

        Args:
            wait: whether to wait for one in the making.

        Raises:
            CheckpointError: it could not be written; the same on every rank.
        """
        if self.saver is None:
            return None
        if wait:
            self.saver.wait()
        return self.saver.collect()

    def last_good(self) -> str:
        """A sentence on the newest checkpoint, after waiting for one in the making. Every rank calls it."""
        try:
            self.collect(wait=True)
        except CheckpointError as error:
            return str(error)
        newest = self.store.newest() if self.store is not None else None
        if newest is None:
            return "No checkpoint was written yet."
        return f"The last good checkpoint is {newest}."

    def load(self, checkpoint: Checkpoint) -> None:
        """Go to the moment of `checkpoint`.

        Raises:
            CheckpointError: it belongs to another run, or its data is not this run's data.
        """
        if checkpoint.meta.get("data") != self.meta["data"]:
            raise CheckpointError(
                f"{checkpoint.path} was written while training on other data: samples, labels or groups"
                " differ from what the configuration gives now; restore the data, or start a new run"
            )
        with self.engine.true_point():
            restore(checkpoint, self.stateful())
        if self.store is not None and checkpoint.path.parent == self.store.folder:
            self.saved_step = self.progress.step
            if self.world.is_main:
                # A kill can come between a checkpoint and its mark.
                self.store.select(self.progress.best_step)
        else:
            # The run starts from another run's checkpoint: what that one selected is not in this store.
            self.progress.best_step, self.progress.stopped = None, False
            self.selector.forget()


def assemble(
    config: RunConfig,
    *,
    dir: Path | None = None,
    store: CheckpointStore | None = None,
    reporters: Reporting | None = None,
    world: World | None = None,
) -> Run:
    """Build the run that `config` describes; nothing is trained and nothing written.

    Raises:
        ConfigError: components do not fit each other or the data.
        DataError: the data cannot be read.
    """
    world = world or World()
    device = device_of(world)
    plan = BatchPlan.solve(config.batch.size, config.batch.micro, world.size)

    data = build_data(config.data, config.seed)
    if data.quarantine is not None:
        data.quarantine.exchange = partial(all_items, world=world)
    loader = data.train_loader(plan, world)
    steps_per_epoch = loader.steps_per_epoch
    num_steps = config.train.steps or steps_per_epoch * (config.train.epochs or 1)

    task: Task = registry.build(
        "task",
        config.task,
        spec=data.spec,
        class_counts=data.class_counts.tolist(),
        class_shares=data.class_shares.tolist(),
    )
    policy = build_policy(config, data, task, plan).to(device)
    regularizers = build_regularizers(config, data)
    engine = build_engine(config, data, policy, regularizers, world, device)
    schedule: Schedule = registry.build("schedule", config.schedule, num_steps=num_steps)
    # The model begins the same everywhere; what is drawn in training (dropout) differs between ranks.
    torch.manual_seed(config.seed + world.rank)
    # Now, not at the first step: a checkpoint is loaded into groups that hold the schedule's keys.
    schedule.apply(engine.optimizer, 0)

    progress = Progress(num_steps, steps_per_epoch)
    guard = NonFiniteGuard(config.train.max_skipped, lambda: run.last_good())
    run = Run(
        config=config,
        dir=dir,
        world=world,
        data=data,
        plan=plan,
        loader=loader,
        task=task,
        policy=policy,
        engine=engine,
        schedule=schedule,
        step=Step(
            engine,
            task,
            policy,
            plan,
            guard,
            progress,
            clip_norm=config.train.clip_norm,
            per_micro=config.batch.accumulation == "per_micro",
            sam=config.train.sam,
            regularization=Regularization(regularizers),
        ),
        progress=progress,
        meter=Meter(device),
        selector=build_selector(config, task),
        callbacks=[registry.build("callback", callback) for callback in config.callbacks],
        reporters=reporters if reporters is not None else Silent(),
        store=store,
        saver=Saver(store, world, config.launch.timeout_seconds) if store is not None else None,
    )
    return run
