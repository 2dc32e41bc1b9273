"""Rules that span several keys; each sees only sections that are valid in themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.config.batch_plan import BatchPlan
from framework.config.schema import (
    BatchConfig,
    DataConfig,
    EvaluateConfig,
    LaunchConfig,
    SelectConfig,
    TrainConfig,
)
from framework.errors import ConfigError, Problem
from framework.naming import listed, nearest

SPLITS = ("train", "validation", "test")

#: section name -> its validated model; a section with faults of its own is absent
Sections = dict[str, Any]


def check(sections: Sections, world_size: int) -> Iterator[Problem]:
    """Contradictions between keys; the places are filled in by the caller."""
    match sections:
        case {"train": TrainConfig() as train}:
            yield from _length(train)
    match sections:
        case {"launch": LaunchConfig() as launch}:
            yield from _launch(launch, world_size)
            if world_size == 1 and launch.name == "local":
                world_size = launch.num_processes or 1
    match sections:
        case {"batch": BatchConfig() as batch}:
            yield from _batch(batch, world_size)
    match sections:
        case {"evaluate": EvaluateConfig() as evaluate}:
            yield from _split_names(evaluate)
    match sections:
        case {"evaluate": EvaluateConfig() as evaluate, "select": SelectConfig() as select}:
            yield from _selection(evaluate, select)
    match sections:
        case {"data": DataConfig() as data}:
            yield from _shares(data)
            yield from _group_columns(data)


def _length(train: TrainConfig) -> Iterator[Problem]:
    if train.epochs is None and train.steps is None:
        yield Problem("train", "give train.epochs or train.steps")
    if train.epochs is not None and train.steps is not None:
        yield Problem("train.steps", "give train.epochs or train.steps, not both; set the other to null")


def _batch(batch: BatchConfig, world_size: int) -> Iterator[Problem]:
    try:
        BatchPlan.solve(batch.size, batch.micro, world_size)
    except ConfigError as error:
        yield from error.problems


def _launch(launch: LaunchConfig, world_size: int) -> Iterator[Problem]:
    if launch.name == "none" and launch.num_processes is not None:
        message = "only launch=local starts processes; add launch=local, or start them with torchrun"
        yield Problem("launch.num_processes", message)
    elif launch.name == "local" and launch.num_processes is None:
        yield Problem("launch.num_processes", "launch=local needs the number of processes, e.g. 2")
    elif launch.name == "local" and world_size not in (1, launch.num_processes):
        message = f"{world_size} processes were started already; leave launch=local out"
        yield Problem("launch.num_processes", message)


def _split_names(evaluate: EvaluateConfig) -> Iterator[Problem]:
    for key, names in (("splits", evaluate.splits), ("final", evaluate.final)):
        for number, name in enumerate(names):
            if name not in SPLITS:
                message = f"there is no split '{name}'{nearest(name, SPLITS)}{listed(SPLITS)}"
                yield Problem(f"evaluate.{key}.{number}", message)


def _selection(evaluate: EvaluateConfig, select: SelectConfig) -> Iterator[Problem]:
    if select.split == "test":
        yield Problem("select.split", "the test split must not choose the checkpoint; use validation")
    elif select.split not in SPLITS:
        message = f"there is no split '{select.split}'{nearest(select.split, SPLITS)}"
        yield Problem("select.split", f"{message} (one of: train, validation)")
    elif select.split not in evaluate.splits:
        measured = ", ".join(evaluate.splits) or "none"
        message = f"'{select.split}' is not measured during training; evaluate.splits has {measured}"
        yield Problem("select.split", message)


def _group_columns(data: DataConfig) -> Iterator[Problem]:
    for key, columns in (("groups", data.groups), ("policy_groups", data.policy_groups)):
        if isinstance(columns, list):
            for number, name in enumerate(columns):
                if name in columns[:number]:
                    yield Problem(f"data.{key}.{number}", f"the column '{name}' is named twice")


def _shares(data: DataConfig) -> Iterator[Problem]:
    total = data.splits.validation + data.splits.test
    if total >= 1:
        yield Problem(
            "data.splits", f"validation and test take {total:g} of the samples: none are left to train"
        )
