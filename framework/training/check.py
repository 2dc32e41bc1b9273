"""What can be known before training: build the run, push one batch through, train nothing."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from framework.checkpoint.checkpoint import Checkpoint
from framework.config.load import LoadedConfig
from framework.data.evaluation import EvaluationLoader
from framework.errors import ConfigError, PluginError, Problem
from framework.evaluation.evaluate import NoSamplesError, evaluate
from framework.evaluation.select import metric_names
from framework.parallel.world import World
from framework.registry import ComponentConfig
from framework.training.assemble import Run, assemble
from framework.training.hooks import Record


def check(loaded: LoadedConfig, world: World, checkpoint: Checkpoint | None = None) -> list[tuple[str, str]]:
    """Build the run of `loaded` and rehearse one step of it; returns lines that describe it.

    With `checkpoint`, the one it would go on from, that is loaded before.

    Every process of `world` calls it.

    Raises:
        UserError: whatever would stop the run.
    """
    run = assemble(loaded.config, world=world)
    if checkpoint is not None:
        run.meta = {"data": run.data.fingerprint()}
        run.load(checkpoint)
    rehearse(run)
    _one_step(run)
    start = [("goes on", f"from step {checkpoint.step}: {checkpoint.path}")] if checkpoint else []
    return describe(run) + start


def rehearse(run: Run) -> None:
    """Evaluate one batch of every split that will be measured, and see that the selection metric is there.

    It leaves no trace in weights, random state or data position.

    Raises:
        ConfigError: a split or the selection metric does not exist.
    """
    config = run.config
    problems = [
        Problem("evaluate", f"split '{split}' is empty; set data.splits.{split}, or do not evaluate it")
        for split in dict.fromkeys([*config.evaluate.splits, config.select.split])
        if split not in run.data.splits
    ]
    if problems:
        raise ConfigError(problems)
    available: list[str] = []
    with run.engine.evaluation_weights():
        for split in run.data.splits:
            if split in (*config.evaluate.splits, *config.evaluate.final, config.select.split):
                loader = run.data.evaluation_loader(split, config.evaluate.batch_size, run.world)
                record = _evaluate_one_batch(run, loader, split)
                if split == config.select.split:
                    available = metric_names(record)
    run.selector.check_metric(available)


def _evaluate_one_batch(run: Run, loader: EvaluationLoader, split: str) -> Record:
    """The record of the first batch, or of the first one with a sample that can be read."""
    for number in range(len(loader)):
        batches = itertools.islice(iter(loader), number, number + 1)
        try:
            return evaluate(run.engine, run.task, batches, run.data.groups, split)
        except NoSamplesError:
            if run.data.quarantine is None:
                raise
    raise NoSamplesError(f"split '{split}' has no sample that can be read")


def describe(run: Run) -> list[tuple[str, str]]:
    """Label and text for each thing a person should see before training."""
    config, plan = run.config, run.plan
    parameters = sum(_size(p) for p in run.engine.model.parameters())
    trainable = sum(_size(p) for p in run.engine.model.parameters() if p.requires_grad)
    frozen = f", {parameters - trainable:,} of them frozen" if trainable < parameters else ""
    passes = (
        "two passes"
        if (run.policy.needs_batch or config.regularizers) and plan.accumulation > 1
        else "one pass"
    )
    if run.step.per_micro and plan.accumulation > 1:
        passes = "per micro-batch: not the algorithm on the global batch"
    arithmetic = f"{plan.size} = {plan.micro} x {plan.accumulation} micro-batches x {plan.world_size} ranks"
    if config.regularizers:
        names = ", ".join(_options(each.name, each.options()) for each in config.regularizers)
        regularizers = [("regularizers", names)]
    else:
        regularizers = []
    if config.train.sam is not None:
        passes += ", twice for SAM"
    progress = run.progress
    length = f"{progress.num_steps} steps, {progress.steps_per_epoch} per epoch"
    rule = config.select
    return [
        *run.data.describe(),
        ("model", f"{config.model.name}: {parameters:,} parameters{frozen}"),
        ("task", config.task.name),
        ("policy", f"{_options(config.policy.name, config.policy.options())} ({passes})"),
        *regularizers,
        ("optimizer", _options(config.optimizer.name, config.optimizer.options())),
        ("engine", f"{config.engine.name} on {run.engine.device}"),
        ("batch", arithmetic),
        ("length", length),
        ("selection", f"{rule.metric} on {rule.split}"),
        ("callbacks", ", ".join(callback.name for callback in config.callbacks) or "none"),
    ]


def _one_step(run: Run) -> None:
    """One training step on the first batch; the run is thrown away afterwards."""
    run.schedule.apply(run.engine.optimizer, 0)
    batch = next(run.loader)
    while not batch.num_samples:
        batch = next(run.loader)
    result = run.step(batch)
    run.loader.close()
    assert result.samples.loss.shape == result.samples.index.shape
    if not result.taken:
        raise ConfigError(
            "the first training step gave non-finite losses or gradients; look at the data (missing values,"
            " huge numbers), or lower optimizer.lr"
        )
    if not torch.isfinite(result.objective):
        raise ConfigError("the policy's objective on the first batch is not finite")
    assert result.weights is not None
    if not run.policy.may_be_negative and bool((result.weights < 0).any()):
        raise PluginError(
            f"policy {type(run.policy).__name__} gave a negative weight on the first batch; set"
            " `may_be_negative = True` in the class if the method is meant to"
        )


def _size(parameter: nn.Parameter) -> int:
    """Elements of the whole parameter; DeepSpeed's stage 3 leaves an empty tensor with a note of its size."""
    size: int = getattr(parameter, "ds_numel", parameter.numel())
    return size


def _options(name: str, options: dict[str, object]) -> str:
    shown = ", ".join(f"{key}={_value(value)}" for key, value in options.items() if value is not None)
    return f"{name} ({shown})" if shown else name


def _value(value: object) -> str:
    """An option as it is read; a nested component like the outer one."""
    return _options(value.name, value.options()) if isinstance(value, ComponentConfig) else str(value)
