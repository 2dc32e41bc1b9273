"""A run that stops in the middle of an epoch and goes on gives the numbers of one that never stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from framework.run_folder import read_status
from tests.processes import weights
from tests.resume.runs import records, run, stopped

CASES = {
    "workers": ["data.workers=2"],
    "batch norm, dropout, average": [
        "model.norm=batch",
        "model.dropout=0.4",
        "policy=also",
        "policy.pi_lr=0.5",
        "optimizer=adamw",
        "train.ema={decay: 0.8}",
        "schedule=cosine",
    ],
    "resnet": [
        "model=resnet20",
        "model.width=2",
        "policy=group_dro",
        "policy.step_size=0.5",
        "batch.micro=16",
        "data.splits={validation: 0.05, test: 0.05}",
    ],
    "momentum, shared half step": [
        "policy=also",
        "policy.half_step_state=shared",
        "policy.pi_lr=0.5",
        "optimizer.momentum=0.9",
        "schedule=linear",
        "train.clip_norm=0.5",
        "train.weight_decay_on=matrices",
        "optimizer.weight_decay=0.1",
    ],
    "sharpness-aware": [
        "train.sam={rho: 0.2, ascent: mean, add_ascent: true}",
        "policy=group_dro",
        "policy.step_size=0.5",
        "model.norm=batch",
        "model.dropout=0.4",
        "train.ema={decay: 0.8}",
        "batch.micro=16",
    ],
    "warm-up of a penalty": [
        "regularizers=[{name: irm, penalty: 5, anneal_steps: 5}]",
        "policy=rgd",
        "optimizer=adam",
        # where the first of the stops comes, and so the checkpoint
        "train.reset_optimizer_after=5",
    ],
    "bf16": ["engine.precision=bf16", "policy=rgd", "policy.normalization=mean_one", "optimizer=adagrad"],
    "balanced, topic CVaR": ["policy=group_dro_btl", "data.sampling.name=group_balanced", "optimizer=adam"],
    "groups of one sample": ["policy=also", "data.policy_groups=sample", "policy.pi_reg=uniform"],
    "augmented images": ["data.transforms=[{name: random_crop, padding: 1}]", "policy=rgd"],
    "per micro": ["batch.micro=8", "batch.accumulation=per_micro", "policy=group_dro"],
}


@pytest.mark.parametrize("case", CASES)
def test_a_stop_in_the_middle_changes_nothing(case: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, CASES[case]) == 0
    stopped(parts, CASES[case], after=5)
    stopped(parts, CASES[case], after=16)
    assert run(parts, CASES[case]) == 0
    assert records(parts) == records(whole)
    assert weights(parts) == weights(whole)
    steps = [record["step"] for record in records(parts) if record["event"] == "probe"]
    assert steps == list(range(1, 19))


def test_patience_is_remembered(tmp_path: Path) -> None:
    """Evaluations 6, 12, 18: the rate is so small that the second and third are no better."""
    options = ["optimizer.lr=1.0e-9", "select.patience=2", "train.steps=36"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, options) == 0
    stopped(parts, options, after=14)
    assert run(parts, options) == 0
    status = read_status(parts)
    assert status is not None
    assert (status.state, status.step) == ("stopped", 18)
    assert records(parts) == records(whole)
    final = [record for record in records(parts) if record.get("final")]
    assert {record["selected_step"] for record in final} == {6}


def test_tensorboard_has_each_number_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    options = ["reporting=tensorboard", "reporters=[{name: tensorboard}]", "log.every_steps=2"]
    stopped(folder, options, after=9)
    # A process that died after this checkpoint wrote numbers that the next one writes again.
    assert run(folder, options, {("losses", 14): fail}) == 2
    assert run(folder, options) == 0
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tag = next(tag for tag in events.Tags()["scalars"] if tag.endswith("loss") and "train" in tag)
    assert [event.step for event in events.Scalars(tag)] == [2, 4, 6, 8, 10, 12, 14, 16, 18]


def fail(*_: object) -> None:
    from framework.errors import DataError

    raise DataError("a sample cannot be read")


def test_a_continued_run_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    stopped(folder, [], after=5)
    pids = (folder / "status.json").read_text()
    assert str(os.getpid()) in pids
    assert run(folder) == 0
    starts = [
        line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"event": "run"' in line
    ]
    assert ['"resumed_at": 5' in line for line in starts] == [False, True]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["optimizer.lr=0.2"],
            ["unfinished run of another configuration", "optimizer.lr: 0.1 there, 0.2 now"],
        ),
        (["seed=1", "batch.size=64"], ["batch.size: 32 there, 64 now", "seed: 0 there, 1 now"]),
        (["policy=rgd"], ['policy.name: "erm" there, "rgd" now', "policy.clip: absent there, 1.0 now"]),
        (["data.splits.seed=5"], ["data.splits.seed: null there, 5 now"]),
    ],
)
def test_another_configuration_is_refused(
    overrides: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    stopped(folder, [], after=5)
    before = (folder / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert run(folder, overrides) == 2
    error = capsys.readouterr().err
    for text in expected:
        assert text in error
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert run(folder) == 0


def test_a_finished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run(folder) == 0
    before = (folder / "metrics.jsonl").read_bytes()
    assert run(folder) == 2
    assert "it is finished" in capsys.readouterr().err
    assert (folder / "metrics.jsonl").read_bytes() == before
