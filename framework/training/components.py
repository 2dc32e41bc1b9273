"""The components that take more than one call to build."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from framework.config.batch_plan import BatchPlan
from framework.config.schema import RunConfig
from framework.data.build import Data
from framework.engines.base import Engine, EngineSettings
from framework.errors import ConfigError, Problem
from framework.evaluation.select import Selector
from framework.optim.optimistic import Optimistic
from framework.optim.param_groups import split_decay
from framework.parallel.world import World
from framework.policies.base import Policy
from framework.registry import registry
from framework.regularizers.base import Regularizer
from framework.tasks.base import Task


def build_policy(config: RunConfig, data: Data, task: Task, plan: BatchPlan) -> Policy:
    """The policy, told of the groups and of how often it moves.

    Raises:
        ConfigError: it needs what groups, data or task do not give.
    """
    groups = data.policy_groups
    has_classes = len(data.class_shares) > 0
    policy: Policy = registry.build(
        "policy",
        config.policy,
        group_counts=groups.counts.tolist(),
        group_shares=data.group_shares.tolist(),
        group_names=groups.names,
        class_shares=data.class_shares.tolist() if has_classes else None,
        class_names=data.spec.class_names if has_classes else None,
        batch_size=config.batch.size,
        updates_per_epoch=_updates_per_epoch(config, len(data.order), plan),
    )
    problems = [*_misfits(policy, config, data, task)]
    if problems:
        raise ConfigError(problems)
    return policy


def _misfits(policy: Policy, config: RunConfig, data: Data, task: Task) -> Iterator[Problem]:
    """What the policy needs and groups, data or task do not give."""
    name, groups = config.policy.name, data.policy_groups
    if policy.needs_groups and not config.data.groups and config.data.policy_groups is None:
        message = f"policy {name} needs groups; name metadata columns, e.g. [label]"
        yield Problem("data.groups", message)
    elif policy.needs_groups and (groups.counts > 0).sum() < 2:
        key = "data.groups" if config.data.policy_groups is None else "data.policy_groups"
        formed = f"[{', '.join(groups.columns)}] forms one"
        message = f"policy {name} needs two groups or more to train on; {formed}"
        yield Problem(key, message)
    columns = [*data.splits["train"].extra]
    columns += task.column_names(columns)
    if policy.required_extra and not any(column in columns for column in policy.required_extra):
        needed, there = " or ".join(policy.required_extra), ", ".join(columns) or "none"
        message = f"{name} needs a per-sample column {needed}; data and task give {there}"
        yield Problem("policy", message)
    if policy.needs_log_probability and not task.gives_log_probability:
        message = (
            f"{name} takes exp(-loss) for the probability of the target, so the loss must be an unsmoothed"
            f" cross-entropy of one target per sample; that of task {config.task.name} is not"
        )
        if hasattr(config.task, "label_smoothing"):
            message += " (set task.label_smoothing to 0)"
        yield Problem("policy", message)


def build_regularizers(config: RunConfig, data: Data) -> list[Regularizer]:
    """The penalties, in the order of the configuration.

    Raises:
        ConfigError: one needs groups that are not there.
    """
    regularizers = []
    for number, options in enumerate(config.regularizers):
        regularizer = registry.build(
            "regularizer", options, group_counts=data.policy_groups.counts.tolist(), spec=data.spec
        )
        if regularizer.needs_groups and not config.data.groups and config.data.policy_groups is None:
            message = f"{options.name} needs groups: name metadata columns in data.groups, e.g. [domain]"
            raise ConfigError([Problem(f"regularizers.{number}", message)])
        regularizers.append(regularizer)
    return regularizers


def _updates_per_epoch(config: RunConfig, num_samples: int, plan: BatchPlan) -> int:
    """How often the policy moves in one pass: once per step, or once per micro-batch where that is asked."""
    full, rest = divmod(num_samples, plan.size)
    if config.batch.accumulation == "per_micro":
        return full * plan.accumulation + plan.num_micros(rest)
    return full + (rest > 0)


def build_engine(
    config: RunConfig,
    data: Data,
    policy: Policy,
    regularizers: Sequence[Regularizer],
    world: World,
    device: torch.device,
) -> Engine:
    """The engine, which calls for model and optimizer when and where it wants them.

    Raises:
        ConfigError: model, penalties or SAM do not fit it, or the optimizer has more to forget than moments.
    """
    if config.train.reset_optimizer_after is not None:
        _check_reset(config, policy)

    def make_model() -> nn.Module:
        _seed_everything(config.seed)
        model: nn.Module = registry.build("model", config.model, spec=data.spec)
        for number, regularizer in enumerate(regularizers):
            try:
                regularizer.attach(model)
            except ValueError as error:
                raise ConfigError([Problem(f"regularizers.{number}", str(error))]) from error
        return model

    def make_optimizer(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
        groups = split_decay(named, config.train.weight_decay_on)
        if not any(group["params"] for group in groups):
            raise ConfigError([Problem("model.name", f"model {config.model.name} has nothing to train")])
        base: torch.optim.Optimizer = registry.build("optimizer", config.optimizer, parameters=groups)
        if policy.extrapolation is None:
            return base
        return Optimistic(base, policy.extrapolation.alpha, policy.extrapolation.state)

    ema_decay = config.train.ema.decay if config.train.ema is not None else None
    settings = EngineSettings(make_model, make_optimizer, world, device, ema_decay)
    engine: Engine = registry.build("engine", config.engine, settings=settings)
    if config.train.sam is not None and not engine.can_perturb:
        message = (
            f"engine {config.engine.name} cannot move offloaded shards for the length of a pass;"
            " single, ddp, fsdp and zero0 to zero3 can"
        )
        raise ConfigError([Problem("train.sam", message)])
    return engine


def _check_reset(config: RunConfig, policy: Policy) -> None:
    """Refuse to forget the state of an optimizer that cannot do without."""
    message = ""
    if policy.extrapolation is not None:
        message = f"the half steps of {config.policy.name} keep the parameters themselves in the optimizer"
    fresh = registry.build("optimizer", config.optimizer, parameters=[nn.Parameter(torch.zeros(1))])
    if fresh.state:
        message = f"optimizer {config.optimizer.name} begins with a state, and would miss it"
    if message:
        raise ConfigError([Problem("train.reset_optimizer_after", message)])


def build_selector(config: RunConfig, task: Task) -> Selector:
    """The rule that says which checkpoint is the best one."""
    rule = config.select
    return Selector(rule.metric, rule.mode, rule.patience, task, rule.tie_break)


def _seed_everything(seed: int) -> None:
    """Seed the global generators; data order and augmentation have their own, by position."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
