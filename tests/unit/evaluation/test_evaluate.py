"""`evaluate` against numpy and scikit-learn on the whole split at once."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from framework.data.batch import Batch
from framework.engines.base import Engine, EngineSettings
from framework.engines.single import SingleEngine
from framework.errors import DataError
from framework.evaluation.evaluate import evaluate
from framework.parallel.world import World
from framework.tasks.base import Task


@dataclass
class Table:
    names: tuple[str, ...]
    counts: np.ndarray


class Given(Task):
    """The outputs are the losses; a sample is right if its loss is below one half."""

    maximize = frozenset({"accuracy", "share_right"})

    def losses(self, outputs, batch):
        return outputs

    def measures(self, outputs, batch):
        return {"accuracy": (outputs < 0.5).float(), "square": outputs**2}

    def statistics(self, outputs, batch):
        right = (outputs < 0.5).long()
        return {
            "cells": torch.stack([torch.bincount(batch.targets[right == i], minlength=3) for i in range(2)])
        }

    def summarize(self, statistics):
        cells = statistics["cells"]
        return {"share_right": float((cells[1] / cells.sum(0)).mean())}


class Plain(Engine):
    """Outputs are the inputs; `elsewhere` is what the other ranks sum to."""

    def __init__(self, elsewhere=None):
        self.device = torch.device("cpu")
        self.elsewhere, self.flat = elsewhere, None

    def forward(self, inputs):
        return inputs

    def preserved_state(self):
        return nullcontext()

    def all_sum(self, values):
        self.flat = values
        return values if self.elsewhere is None else values + self.elsewhere


Plain.__abstractmethods__ = frozenset()


def batches(loss, groups, targets, order, sizes, filler, junk_group=0):
    """The samples in `order`, cut into batches of `sizes`, each with rows of NaN among them."""
    result, start = [], 0
    for size, num_filler in zip(sizes, filler, strict=True):
        rows = order[start : start + size]
        start += size
        place = np.sort(np.random.default_rng(size).permutation(len(rows) + num_filler)[: len(rows)])
        total = len(rows) + num_filler
        columns = {
            "inputs": torch.full((total,), float("nan")),
            "targets": torch.zeros(total, dtype=torch.int64),
            "groups": torch.full((total,), junk_group, dtype=torch.int64),
            "index": torch.zeros(total, dtype=torch.int64),
            "valid": torch.zeros(total, dtype=torch.bool),
        }
        columns["inputs"][place] = torch.tensor(loss[rows], dtype=torch.float32)
        columns["targets"][place] = torch.tensor(targets[rows])
        columns["groups"][place] = torch.tensor(groups[rows])
        columns["valid"][place] = True
        result.append(Batch(**columns))
    return result


@st.composite
def split_up(draw):
    num = draw(st.integers(3, 40))
    num_groups = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    loss = rng.random(num).astype(np.float32)
    groups = rng.integers(0, num_groups, num)
    targets = np.concatenate([np.arange(3), rng.integers(0, 3, num - 3)])
    cuts = sorted(draw(st.lists(st.integers(0, num), max_size=6)))
    sizes = np.diff([0, *cuts, num])
    filler = [draw(st.integers(0, 4)) + (size == 0) for size in sizes]
    counts = rng.integers(0, 5, num_groups)
    table = Table(tuple(f"g{i}" for i in range(num_groups)), counts)
    return loss, groups, targets, rng.permutation(num), sizes, filler, table, draw(st.integers(-3, 9))


def reference(loss, groups, targets, table):
    """The record's numbers from the definitions, on whole arrays."""
    right = (loss < 0.5).astype(float)
    measures = {"loss": loss.astype(float), "accuracy": right, "square": (loss**2).astype(float)}
    present = np.unique(groups)
    record = {"num_samples": len(loss)}
    for name, values in measures.items():
        per_group = np.array([values[groups == g].mean() for g in present])
        record[name] = values.mean()
        record[f"worst_group_{name}"] = per_group.min() if name == "accuracy" else per_group.max()
        record[f"group_average_{name}"] = per_group.mean()
        weights = table.counts[present]
        record[f"weighted_{name}"] = np.average(per_group, weights=weights) if weights.sum() else None
    record["share_right"] = balanced_accuracy_score(targets, np.where(right == 1, targets, 7))
    return record


def close(left, right):
    return left is right if right is None else left == pytest.approx(right, rel=1e-12, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@settings(max_examples=150, deadline=None)
@given(split_up())
def test_any_batches_any_padding_any_order_give_the_numbers_of_the_whole(case):
    loss, groups, targets, order, sizes, filler, table, junk = case
    made = batches(loss, groups, targets, order, sizes, filler, junk)
    record = evaluate(Plain(), Given(), made, table, "validation")
    for name, value in reference(loss, groups, targets, table).items():
        assert close(record[name], value), name
    for group, row in enumerate(record["groups"]):
        mine = loss[groups == group].astype(float)
        assert (row["name"], row["count"]) == (f"g{group}", len(mine))
        assert row["train_count"] == table.counts[group]
        assert close(row["loss"], mine.mean() if len(mine) else None)
    right = [np.mean(loss[groups == g] < 0.5) if (groups == g).any() else 2 for g in range(len(table.names))]
    assert record["worst_group"] == f"g{int(np.argmin(right))}"


@settings(max_examples=30, deadline=None)
@given(split_up(), st.data())
def test_two_ranks_give_the_record_of_one_even_if_one_has_only_filler(case, data):
    loss, groups, targets, order, _, _, table, junk = case
    num = len(loss)
    cut = data.draw(st.integers(0, num))
    whole = evaluate(Plain(), Given(), batches(loss, groups, targets, order, [num], [0]), table, "test")
    first = batches(loss, groups, targets, order[:cut], [cut], [2], junk)
    second = batches(loss, groups, targets, order[cut:], [num - cut], [2], junk)
    other = Plain()
    with suppress(DataError):  # alone it may have only filler; its sums are taken all the same
        evaluate(other, Given(), second, table, "test")
    record = evaluate(Plain(other.flat), Given(), first, table, "test")
    for name, value in whole.items():
        if isinstance(value, float) and name != "seconds":
            assert close(record[name], value), name
    assert record["num_samples"] == num


def one_batch(loss, groups):
    num = len(loss)
    return batches(
        np.array(loss, dtype=np.float32), np.array(groups), np.zeros(num, int), np.arange(num), [num], [0]
    )


def test_among_equally_bad_groups_the_first_is_the_worst():
    table = Table(("a", "b", "c"), np.array([1, 1, 1]))
    record = evaluate(Plain(), Given(), one_batch([0.1, 0.9, 0.7], [0, 2, 1]), table, "test")
    assert record["worst_group"] == "b"
    assert record["worst_group_accuracy"] == 0.0


def test_a_group_without_samples_is_null_and_not_the_worst():
    table = Table(("empty", "full"), np.array([7, 3]))
    record = evaluate(Plain(), Given(), one_batch([0.1, 0.9], [1, 1]), table, "test")
    assert record["groups"][0] == {
        "name": "empty", "count": 0, "train_count": 7, "loss": None, "accuracy": None, "square": None
    }  # fmt: skip
    assert record["worst_group"] == "full"
    assert record["weighted_accuracy"] == record["group_average_accuracy"] == 0.5


def test_weights_are_training_proportions_of_the_groups_present():
    table = Table(("a", "b", "c"), np.array([30, 10, 960]))
    record = evaluate(Plain(), Given(), one_batch([0.1, 0.9, 0.9, 0.9], [0, 1, 1, 1]), table, "test")
    assert record["weighted_accuracy"] == pytest.approx(0.75)
    assert record["group_average_accuracy"] == pytest.approx(0.5)
    assert record["accuracy"] == pytest.approx(0.25)


def test_a_group_that_training_does_not_know_has_no_weight_even_if_nan():
    table = Table(("a", "b"), np.array([5, 0]))
    record = evaluate(Plain(), Given(), one_batch([0.1, float("nan")], [0, 1]), table, "test")
    assert record["weighted_loss"] == pytest.approx(0.1)
    assert record["worst_group_loss"] != record["worst_group_loss"], "a NaN is the worst of all"


def test_without_accuracy_the_worst_group_has_the_largest_loss():
    class Losses(Given):
        def measures(self, outputs, batch):
            return {"loss": outputs}

    table = Table(("a", "b"), np.array([1, 1]))
    record = evaluate(Plain(), Losses(), one_batch([0.1, 0.9], [0, 1]), table, "test")
    assert record["worst_group"] == "b"


def test_a_split_without_samples_is_an_error():
    table = Table(("a",), np.array([1]))
    with pytest.raises(DataError, match="'test' has no samples"):
        evaluate(Plain(), Given(), [], table, "test")
    with pytest.raises(DataError, match="'test' has no samples"):
        evaluate(Plain(), Given(), batches(*[np.zeros(0, int)] * 4, [0], [3]), table, "test")


def test_training_state_and_rng_are_untouched():
    class Noisy(Given):
        """Draws random numbers, as a task that masks its inputs does."""

        def measures(self, outputs, batch):
            noisy = outputs[:, 0] + torch.rand(len(batch))
            return {"loss": noisy, **super().measures(noisy, batch)}

        def statistics(self, outputs, batch):
            return {}

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    engine = SingleEngine(
        EngineSettings(
            make_model=lambda: model,
            make_optimizer=lambda named: torch.optim.SGD([p for _, p in named], lr=0.1),
            world=World(),
            device=torch.device("cpu"),
        )
    )
    loss = torch.rand(8)
    made = Batch(
        inputs=loss[:, None],
        targets=torch.zeros(8, dtype=torch.int64),
        groups=torch.zeros(8, dtype=torch.int64),
        index=torch.arange(8),
        valid=torch.ones(8, dtype=torch.bool),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    with engine.evaluation_weights():
        evaluate(engine, Noisy(), [made], Table(("a",), np.array([1])), "test")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
