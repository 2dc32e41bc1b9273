"""Runs over damaged shards: what cannot be read counts nowhere, on any layout and after any restart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from framework.config.load import load
from framework.data.faults import BadSampleError
from framework.data.order import UniformOrder
from framework.errors import DataError
from framework.parallel.collectives import all_items
from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.training.assemble import Run, assemble
from framework.training.loop import advance, fit
from framework.training.stop_signal import StopSignal
from tests.distributed import RankError, run_ranks
from tests.equivalence.matrix import Case, Outcome, differences, outcome, outcomes
from tests.tiny import TEXT
from tests.unit.data.shards.samples import pictures, write

N, BATCH = 130, 36
#: the whole second shard, and a sample of the fourth
BAD = [*range(8, 16), 26]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    splits = {"train": pictures(N), "validation": pictures(40, 1), "test": pictures(9, 2)}
    manifest = write(folder, splits)
    cut = folder / manifest.splits["train"].shards[1].file
    cut.write_bytes(cut.read_bytes()[:-700])
    for split, shard, key in (("train", 3, 26), ("validation", 0, 3)):
        path = folder / manifest.splits[split].shards[shard].file
        content = path.read_bytes()
        start = content.index(f"{split}-{key:09}.npy".encode()) + 512
        path.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])
    return folder


def text(folder: Path, **data: Any) -> str:
    section = {"on_error": "quarantine", "max_bad_fraction": 0.2, **data}
    lines = "".join(f"  {key}: {value}\n" for key, value in section.items())
    source = f"  source: {{name: webdataset, path: {folder}}}\n  splits: {{validation: 0, test: 0}}\n"
    begin, _, end = TEXT.partition("  - data: digits_longtail\n")
    return begin + end + "data:\n" + source + lines


def case(folder: Path, policy: str, micros: int, engine: str = "single", **data: Any) -> Case:
    return Case(policy, micros, BATCH, (f"engine={engine}", "train.steps=8"), text=text(folder, **data))


@cache
def reference(folder: Path, policy: str) -> Outcome:
    return outcome(case(folder, policy, 1), World())


def run_of(folder: Path, tmp_path: Path, *overrides: str, **data: Any) -> Run:
    (tmp_path / "run.yaml").write_text(text(folder, **data))
    return assemble(load(str(tmp_path / "run.yaml"), [f"batch.size={BATCH}", *overrides]).config)


def steps(run: Run, count: int) -> list[list[int]]:
    seen = []
    with StopSignal() as signals:
        for _ in range(count):
            advance(run, signals)
            assert run.last is not None
            seen.append(run.last.samples.index.tolist())
    return seen


def test_a_bad_sample_keeps_its_place_and_counts_nowhere(folder: Path, tmp_path: Path) -> None:
    options = (
        "train.steps=8",
        "optimizer={name: sgd, lr: 0.1, momentum: 0, weight_decay: 0}",
        "evaluate.every_epochs=null",
    )
    run = run_of(folder, tmp_path, *options)
    model = run_of(folder, tmp_path, *options).engine.model
    seen = steps(run, 8)
    data, order = pictures(N), UniformOrder(N, run.config.seed)
    assert isinstance(data.inputs, torch.Tensor)
    for step in range(8):
        epoch, batch = divmod(step, 4)
        ids = order.positions(epoch, batch * BATCH, (batch + 1) * BATCH)
        ids = ids[~np.isin(ids, BAD)]
        assert seen[step] == ids.tolist()
        loss = F.cross_entropy(model(data.inputs[ids]), data.targets[ids])
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
    assert run.progress.samples == 2 * (N - len(BAD))
    for trained, wanted in zip(run.engine.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(trained, wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize("policy", ["rgd_sum_one", "group_dro", "also_optimistic"])
@pytest.mark.parametrize("micros", [2, 6, 18])
def test_any_cut_into_micro_batches_gives_the_same_numbers(folder: Path, policy: str, micros: int) -> None:
    assert differences(outcome(case(folder, policy, micros), World()), reference(folder, policy)) == []


@pytest.mark.parametrize("world_size", [2, 3])
def test_any_layout_gives_the_same_numbers(folder: Path, world_size: int) -> None:
    cases = [
        case(folder, policy, micros, "ddp")
        for policy, micros in (("erm", 1), ("group_dro", 2), ("rgd_sum_one", 6))
    ]
    reached = run_ranks(outcomes, world_size, cases, timeout=200)[0]
    for one, result in zip(cases, reached, strict=True):
        assert differences(result, reference(folder, one.policy)) == [], one


def test_a_resumed_run_knows_what_was_bad(folder: Path, tmp_path: Path) -> None:
    options = ("train.steps=8", "evaluate.every_epochs=null")
    whole = steps(run_of(folder, tmp_path, *options), 8)
    first = run_of(folder, tmp_path, *options)
    seen = steps(first, 3)
    second = run_of(folder, tmp_path, *options, workers=2)
    for name, part in second.stateful().items():
        part.load_state_dict(first.stateful()[name].state_dict())
    assert second.data.quarantine is not None
    assert second.data.quarantine.count("train") == len(BAD)
    assert second.data.quarantine.news() == []
    assert seen + steps(second, 5) == whole
    second.loader.close()


def test_what_is_left_out_is_named_once_and_counted(folder: Path, tmp_path: Path) -> None:
    measured = ("evaluate.final=[]", "evaluate.splits=[validation, test]")
    run = run_of(folder, tmp_path, "train.epochs=1", "train.steps=null", *measured)
    records: list[dict[str, Any]] = []
    object.__setattr__(run.reporters, "record", records.append)
    with StopSignal() as signals:
        fit(run, signals)
    told = [record for record in records if record["event"] == "quarantine"]
    assert sorted((record["split"], record["samples"]) for record in told) == [
        ("train", 1), ("train", 8), ("validation", 1),
    ]  # fmt: skip
    assert max(record["total"] for record in told) == 9
    assert any("cut off" in record["reason"] for record in told)
    for record in records:
        if record["event"] == "evaluation":
            left_out = 1 if record["split"] == "validation" else 0
            assert record["left_out"] == left_out
            assert record["num_samples"] == (40 if record["split"] == "validation" else 9) - left_out


def test_too_many_bad_samples_end_the_run(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, tmp_path, "train.steps=8", max_bad_fraction=0.05)
    with pytest.raises(DataError, match=r"9 of 130 samples of split 'train'|8 of 130"):
        steps(run, 8)
    message = r"max_bad_fraction=0.05 allows; the last is shard train-000001.tar"
    with pytest.raises(RankError, match=message):
        run_ranks(outcomes, 2, [case(folder, "erm", 1, "ddp", max_bad_fraction=0.05)], timeout=100)


def test_by_default_the_first_fault_ends_the_run(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 bad shard:\n.*train-000001.tar: cut off"):
        run_of(folder, tmp_path, on_error="stop")


def test_a_batch_of_bad_samples_alone_moves_nothing(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, tmp_path, "train.steps=8")
    before = [parameter.clone() for parameter in run.engine.model.parameters()]
    batch = next(run.loader)
    empty = replace(
        batch,
        micros=[micro.without(torch.ones(len(micro), dtype=torch.bool)) for micro in batch.micros],
        num_samples=0,
        left_out=range(BATCH),
    )
    result = run.step(empty)
    assert not result.taken
    assert len(result.samples.loss) == 0
    assert all(map(torch.equal, before, run.engine.model.parameters()))


def gathered(items: list[list[int]]) -> list[int]:
    world = World.detect()
    with process_group(world, 60):
        return all_items(items[world.rank], world)


def test_what_one_rank_finds_all_know() -> None:
    assert run_ranks(gathered, 2, [[3], [1, 2]]) == [[3, 1, 2]] * 2
    assert run_ranks(gathered, 2, [[], []]) == [[], []]


def test_an_error_says_what_is_lost(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, tmp_path)
    with pytest.raises(BadSampleError) as raised:
        run.data.splits["train"].fetch(np.array([9]), None)
    assert raised.value.positions.tolist() == list(range(8, 16))
