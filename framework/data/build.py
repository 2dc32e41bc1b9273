"""From the data section to splits, groups and loaders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from framework.config.batch_plan import BatchPlan
from framework.config.schema import DataConfig
from framework.data.batch import DataSpec
from framework.data.batch_maker import Place
from framework.data.dataset import Dataset, Splits
from framework.data.evaluation import EvaluationLoader
from framework.data.fingerprint import fingerprint
from framework.data.group_weights import shares_of
from framework.data.groups import GroupTable, column_groups, sample_groups
from framework.data.loader import TrainLoader
from framework.data.order import Order, make_order
from framework.data.quarantine import Quarantine
from framework.data.repeated_order import make_repeated_order
from framework.data.splits import make_splits
from framework.data.unfitted import fit
from framework.data.weighted_order import WeightedOrder
from framework.errors import ConfigError, DataError, Problem
from framework.naming import listed, nearest
from framework.registry import registry

#: groups that a description names
_MAX_GROUPS = 40


@dataclass(frozen=True)
class Data:
    """Everything a run knows of its data.

    Attributes:
        source: registered name of the dataset.
        splits: split name -> samples, transformed.
        spec: shapes of inputs and targets, the same in every split.
        groups: the groups of the metrics.
        policy_groups: the groups of the policy; the same table unless configured otherwise.
        group_shares: (policy groups,) expected share of each in a training batch.
        order: the training samples of every epoch.
        workers: background processes of a training loader.
        quarantine: what is left out of each split; None where the first fault ends the run.
    """

    source: str
    splits: Splits
    spec: DataSpec
    groups: GroupTable
    policy_groups: GroupTable
    group_shares: np.ndarray
    order: Order
    workers: int
    quarantine: Quarantine | None = None

    @property
    def class_counts(self) -> np.ndarray:
        """(classes,) training samples of each class; empty where targets are no classes."""
        return self._per_class(None)

    @property
    def class_shares(self) -> np.ndarray:
        """(classes,) expected share of each in a training batch; empty where targets are no classes."""
        return self._per_class(self.order.probabilities())

    def _per_class(self, weights: np.ndarray | None) -> np.ndarray:
        label = self.splits["train"].columns.get("label")
        if self.spec.num_classes is None or label is None:
            return np.zeros(0)
        assert label.names == self.spec.class_names, "the column `label` holds the targets"
        return np.bincount(label.values, weights, minlength=self.spec.num_classes)

    def train_loader(self, plan: BatchPlan, world: Place) -> TrainLoader:
        """Global batches of the training split, for ever, cut by `plan` for the process `world`."""
        training = self.splits["train"]
        groups = self.policy_groups.assign(training, "train")
        return TrainLoader(training, groups, self.order, plan, world, self.workers, self.quarantine)

    def evaluation_loader(self, split: str, batch_size: int, world: Place) -> EvaluationLoader:
        """The samples of `split` in order, `batch_size` per process and batch.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in self.splits:
            offer = nearest(split, self.splits) or f"{listed(self.splits)}"
            raise ConfigError([Problem("evaluate.splits", f"the data has no split '{split}'{offer}")])
        dataset = self.splits[split]
        known = self.quarantine.faults[split] if self.quarantine is not None else None
        return EvaluationLoader(dataset, self.groups.assign(dataset, split), batch_size, world, known)

    def describe(self) -> list[tuple[str, str]]:
        """(label, text) lines: sizes of the splits, then the samples of each group, or the first, in each."""
        classes = f", {self.spec.num_classes} classes" if self.spec.num_classes is not None else ""
        if self.spec.num_tokens is not None:
            classes += f", {self.spec.num_tokens:,} tokens in the vocabulary"
        shape = " x ".join(map(str, self.spec.input_shape))
        sizes = ", ".join(f"{name} {len(dataset):,}" for name, dataset in self.splits.items())
        lines = [("data", f"{self.source}: {sizes}; inputs {shape}{classes}")]
        counts = {
            name: np.bincount(self.groups.assign(dataset, name), minlength=len(self.groups))
            for name, dataset in self.splits.items()
        }
        for number, group in enumerate(self.groups.names[:_MAX_GROUPS]):
            text = ", ".join(f"{name} {count[number]:,}" for name, count in counts.items())
            lines.append(
                (f"group {group}", text + ("" if counts["train"][number] else " (none to train on)"))
            )
        if len(self.groups) > _MAX_GROUPS:
            lines.append(("groups", f"and {len(self.groups) - _MAX_GROUPS:,} more"))
        if self.policy_groups is not self.groups:
            lines.append(("policy groups", f"{len(self.policy_groups):,}"))
        return lines

    def fingerprint(self) -> str:
        """A hash of the splits and of what a file may say of the order: other data gives another one."""
        digest = fingerprint(self.splits, tolerant=self.quarantine is not None)
        identity = self.order.identity()
        return hashlib.sha256(digest.encode() + identity).hexdigest()[:16] if identity else digest


def raw_splits(config: DataConfig, seed: int) -> Splits:
    """The source's samples, split and not yet encoded.

    Raises:
        ConfigError: an option does not fit the data.
        DataError: a file is missing or broken.
    """
    data_seed = seed if config.splits.seed is None else config.splits.seed
    splits: Splits = registry.build("dataset", config.source, seed=data_seed, on_error=config.on_error)
    return make_splits(splits, config.splits, data_seed)


def read_splits(config: DataConfig, seed: int) -> Splits:
    """The source's samples, split and encoded, before any transform.

    Raises:
        ConfigError: an option does not fit the data.
        DataError: a file is missing or broken.
    """
    return fit(raw_splits(config, seed))


def build_data(config: DataConfig, seed: int, raw: Splits | None = None) -> Data:
    """Read the source, split, fit, transform, and form the groups.

    The source, the splits and the transforms draw from `splits.seed` where it is given, so that runs
    of different seeds can share one data set; the order always follows `seed`.

    Args:
        config: the data section.
        seed: of the run.
        raw: what `raw_splits` gives, if it was read before.

    Raises:
        ConfigError: an option does not fit the data.
        DataError: a file is missing or broken, or samples do not form what the configuration says.
    """
    data_seed = seed if config.splits.seed is None else config.splits.seed
    splits = fit(raw_splits(config, seed) if raw is None else raw)
    for number, section in enumerate(config.transforms):
        transform = registry.build("transform", section, seed=data_seed, on_error=config.on_error)
        try:
            splits = transform(splits)
        except ValueError as error:
            problem = Problem(f"data.transforms.{number}", f"{section.name}: {error}")
            raise ConfigError([problem]) from error
    for name, dataset in splits.items():
        _check(name, dataset, splits["train"].spec)

    allow_other = config.unknown_group == "other"
    groups = column_groups(splits, config.groups, allow_other)
    policy_groups = groups
    if config.policy_groups == "sample":
        policy_groups = sample_groups(splits["train"])
    elif config.policy_groups is not None:
        policy_groups = column_groups({"train": splits["train"]}, config.policy_groups, allow_other)
    order = _order(config, splits, groups, seed)
    shares = np.bincount(
        policy_groups.assign(splits["train"], "train"), order.probabilities(), minlength=len(policy_groups)
    )
    quarantine = None
    if config.on_error == "quarantine":
        sizes = {split: len(dataset) for split, dataset in splits.items()}
        quarantine = Quarantine(config.max_bad_fraction, sizes)
    return Data(
        config.source.name, splits, splits["train"].spec, groups, policy_groups, shares, order,
        config.workers, quarantine,
    )  # fmt: skip


def _order(config: DataConfig, splits: Splits, groups: GroupTable, seed: int) -> Order:
    """The order of the training samples, by the groups of the metrics or those that have weights."""
    sampling, training = config.sampling, splits["train"]
    if sampling.name == "repeated":
        return make_repeated_order(sampling, len(training), seed)
    if sampling.name != "weighted":
        return make_order(sampling, groups.assign(training, "train"), seed, training.runs())
    if sampling.by is not None:
        missing = [name for name in sampling.by if name not in training.columns]
        if missing:
            offer = nearest(missing[0], training.columns) or f" (columns: {', '.join(training.columns)})"
            raise ConfigError([Problem("data.sampling.by", f"no column '{missing[0]}'{offer}")])
        groups = column_groups({"train": training}, sampling.by, config.unknown_group == "other")
    shares = shares_of(sampling.weights, groups.names, groups.counts)
    return WeightedOrder(groups.assign(training, "train"), shares, seed)


def _check(name: str, dataset: Dataset, spec: DataSpec) -> None:
    if not len(dataset):
        raise DataError(f"split '{name}' is empty")
    if dataset.spec != spec:
        raise DataError(f"split '{name}' differs from 'train': {dataset.spec} against {spec}")
