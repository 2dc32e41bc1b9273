"""What falls due between two steps: records, evaluations, selection, checkpoints, hooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from framework.__main__ import main
from framework.checkpoint.store import CheckpointStore
from framework.errors import ConfigError
from framework.run_folder import read_status
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.registrations import rolled_back
from tests.tiny import assembled, write
from tests.triggers import planned

PROBED = ["plugins=[tests.probes.plugin]", "task.name=probed", "callbacks=[{name: probe}]"]
#: 423 training samples in batches of 128: four steps an epoch, the last of 39
EPOCHS = ["batch.size=128", "train.steps=null", "train.epochs=3"]


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    with rolled_back(Path(__file__).parents[2] / "probes"), planned({}):
        yield


def train(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """The records of a run in folder/run."""
    words = [f"conf={write(folder)}", *PROBED, *EPOCHS, *overrides, f"run.dir={folder / 'run'}"]
    assert main(words) == 0
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def steps(records: list[dict[str, Any]], event: str) -> list[int]:
    return [r["step"] for r in records if r["event"] == event and not r.get("final")]


def test_cadence_by_epochs(tmp_path: Path) -> None:
    records = train(tmp_path, "evaluate.every_epochs=2", "checkpoint.every_epochs=1", "log.every_steps=5")
    assert steps(records, "evaluation") == [8, 12]  # and at the end
    assert steps(records, "checkpoint") == [4, 8, 12]
    assert steps(records, "train") == [5, 10, 12]
    assert [r["epoch"] for r in records if r["event"] == "train"] == [1, 2, 3]


def test_cadence_by_steps(tmp_path: Path) -> None:
    options = ["evaluate.every_epochs=null", "evaluate.every_steps=5", "checkpoint.every_epochs=null"]
    records = train(tmp_path, *options, "checkpoint.every_steps=7", "evaluate.splits=[train, validation]")
    assert steps(records, "evaluation") == [5, 5, 10, 10, 12, 12]
    improved = [r["step"] for r in records if r.get("best")]
    assert steps(records, "checkpoint") == sorted({7, 12, *improved})


def test_no_evaluation_measures_the_end(tmp_path: Path) -> None:
    records = train(tmp_path, "evaluate.every_epochs=null")
    assert steps(records, "evaluation") == []
    final = [r for r in records if r.get("final")]
    assert [(r["split"], r["selected_step"]) for r in final] == [("validation", 12), ("test", 12)]


def test_a_record_divides_once(tmp_path: Path) -> None:
    """Over steps of 128, 128 and 39 samples: a mean of means would weigh the last three times too much."""
    run = assembled(tmp_path, [*EPOCHS, "policy=rgd", "log.every_steps=3", "evaluate.every_epochs=null"])
    told: list[dict[str, Any]] = []
    run.report = told.append  # type: ignore[method-assign]
    losses, objectives = [], []
    with StopSignal() as signals:
        for _ in range(6):
            advance(run, signals)
            assert run.last is not None
            losses.append(run.last.samples.loss.double())
            objectives.append(float(run.last.objective))
    records = [record for record in told if record["event"] == "train"]
    assert [record["samples"] for record in records] == [384, 679]
    for record, start in zip(records, (0, 3), strict=True):
        every = torch.cat(losses[start : start + 3])
        assert record["loss"] == pytest.approx(float(every.mean()), rel=1e-6)
        assert record["objective"] == pytest.approx(float(np.mean(objectives[start : start + 3])), rel=1e-6)
    mean_of_means = float(np.mean([float(batch.mean()) for batch in losses[3:]]))
    assert records[1]["loss"] != pytest.approx(mean_of_means, rel=1e-4)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("policy", ["erm", "also"])
def test_final_numbers_are_those_of_the_selected_weights(mode: str, policy: str, tmp_path: Path) -> None:
    options = ["select.metric=loss", f"select.mode={mode}", f"policy={policy}", "train.ema={decay: 0.5}"]
    options += ["data.splits.test=0", "evaluate.final=[validation]", "optimizer.lr=0.5"]
    records = train(tmp_path, *options)
    measured = {r["step"]: r["loss"] for r in records if r["event"] == "evaluation" and not r.get("final")}
    choose = max if mode == "max" else min
    selected = choose(measured, key=lambda step: measured[step])
    (final,) = [r for r in records if r.get("final")]
    assert final["selected_step"] == selected
    assert len(set(measured.values())) > 1
    assert mode == "min" or selected != 12, "the last point must not be the selected one"
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.marked("best") == selected
    average = store.load("best").parts["engine"]["ema"]
    data = assembled(tmp_path, [*EPOCHS, "data.splits.test=0"]).data.splits["validation"]
    inputs, targets = data.fetch(np.arange(len(data)), None)
    assert isinstance(inputs, torch.Tensor)
    hidden = F.relu(F.linear(inputs.flatten(1), average["1.weight"], average["1.bias"]))
    logits = F.linear(hidden, average["3.weight"], average["3.bias"])
    assert final["loss"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-5)
    assert final["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()), abs=1e-6)


def test_patience_ends_the_run(tmp_path: Path) -> None:
    seen: list[str] = []
    with planned({("end", 3): lambda run: seen.extend(run.callbacks[0].seen)}):
        options = ["optimizer.lr=1.0e-9", "evaluate.every_epochs=null", "evaluate.every_steps=1"]
        records = train(tmp_path, *options, "select.patience=2", "select.metric=accuracy")
    assert steps(records, "evaluation") == [1, 2, 3]
    status = read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.step) == ("stopped", 3)
    assert {r["selected_step"] for r in records if r.get("final")} == {1}
    assert "stop 3: accuracy has not improved for 2 evaluations" in seen


def test_hooks_come_in_order(tmp_path: Path) -> None:
    seen: list[str] = []
    with planned({("end", 8): lambda run: seen.extend(run.callbacks[0].seen)}):
        options = ["train.epochs=2", "checkpoint.every_epochs=2", "checkpoint.asynchronous=false"]
        train(tmp_path, *options, "select.metric=loss", "select.mode=max")
    assert [event for event in seen if not event.startswith("step")] == [
        "start 0",
        "epoch_start 0",
        "epoch_end 4",
        "evaluation 4",
        "checkpoint 4",
        "epoch_start 4",
        "epoch_end 8",
        "evaluation 8",
        "checkpoint 8",
        "end 8",
    ]
    assert [event for event in seen if event.startswith("step")] == [f"step {step}" for step in range(1, 9)]
    assert seen.index("step 4") < seen.index("epoch_end 4")


#: with its static prior ALSO would make up for the long tail a second time
POLICIES = {
    "erm": [],
    "rgd": [],
    "group_dro": [],
    "group_dro_btl": [],
    "also": ["policy.pi_reg=uniform"],
    "also_descent_ascent": ["policy.pi_reg=uniform"],
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("replacement", [True, False])
def test_balanced_sampling_suits_every_policy(policy: str, replacement: bool, tmp_path: Path) -> None:
    sampling = f"data.sampling={{name: group_balanced, replacement: {str(replacement).lower()}}}"
    options = ["evaluate.every_epochs=null", "optimizer.momentum=0", "train.steps=14"]
    run = assembled(tmp_path, [f"policy={policy}", *POLICIES[policy], sampling, *options])
    seen, losses = [], []
    with StopSignal() as signals:
        while not run.progress.done:
            advance(run, signals)
            assert run.last is not None
            seen.append(run.last.samples.groups)
            losses.append(float(run.last.samples.loss.mean()))
    counts = torch.cat(seen).bincount(minlength=10)
    assert counts.min() >= 0.5 * counts.float().mean(), "a long tail would give the last class 2 %"
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_group_per_sample_trains(tmp_path: Path) -> None:
    options = ["policy=also", "data.policy_groups=sample", "policy.pi_lr=0.01", "policy.pi_reg=uniform"]
    options += ["evaluate.every_epochs=null", "optimizer.momentum=0", "train.steps=28"]
    run = assembled(tmp_path, options)
    assert run.policy.numbers()["pi"].shape == (423,)
    losses = []
    with StopSignal() as signals:
        while not run.progress.done:
            advance(run, signals)
            assert run.last is not None
            assert torch.equal(run.last.samples.groups, run.last.samples.index)
            losses.append(float(run.last.samples.loss.mean()))
    moved = run.policy.numbers()["pi"]
    assert float(moved.sum()) == pytest.approx(1.0)
    assert moved.max() > 1.1 * moved.min() > 0
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_reset_optimizer_is_a_new_one(tmp_path: Path) -> None:
    options = ["optimizer=adam", "optimizer.lr=0.01", "evaluate.every_epochs=null", "train.steps=12"]
    reset = assembled(tmp_path, [*options, "train.reset_optimizer_after=4"])
    plain, never = assembled(tmp_path, options), assembled(tmp_path, options)
    with StopSignal() as signals:
        for step in range(7):
            if step == 4:
                plain.engine.optimizer = torch.optim.Adam(plain.engine.model.parameters(), lr=0.01)
            for run in (reset, plain, never):
                advance(run, signals)
    for found, expected, other in zip(
        *(run.engine.model.parameters() for run in (reset, plain, never)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["policy=also"], "half steps of also keep the parameters"),
        (["optimizer=adagrad"], "begins with a state"),
    ],
)
def test_an_optimizer_that_cannot_forget_is_refused(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"train.reset_optimizer_after.*{message}"):
        assembled(tmp_path, [*overrides, "train.reset_optimizer_after=4"])
