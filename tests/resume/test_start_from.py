"""A new run that starts from the checkpoint of another: `resume=PATH`."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.checkpoint.store import CheckpointStore
from framework.errors import DataError
from framework.run_folder import read_status
from tests.processes import weights
from tests.resume.runs import records, run, stopped
from tests.triggers import Signals

EVERY = ["evaluate.every_steps=100", "checkpoint.every_steps=6", "checkpoint.keep_last=9"]


def trained(folder: Path) -> list[dict[str, object]]:
    return [record for record in records(folder) if record["event"] in ("train", "policy")]


def test_from_a_run_folder_and_from_one_checkpoint(tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert run(first, EVERY) == 0
    whole = CheckpointStore(first / "checkpoints")
    one = tmp_path / "one"
    source = first / "checkpoints" / "step-00000006"
    assert run(one, [*EVERY, f"resume={source}"]) == 0
    assert weights(one) == weights(first)
    # The record at step 8 holds the sums of steps 5 to 8: those of 5 and 6 came with the checkpoint.
    assert trained(one) == [record for record in trained(first) if record["step"] > 6]
    longer = tmp_path / "longer"
    assert run(longer, [*EVERY, f"resume={first}", "train.steps=24"]) == 0
    long = tmp_path / "long"
    assert run(long, [*EVERY, "train.steps=24"]) == 0
    assert weights(longer) == weights(long)
    assert CheckpointStore(longer / "checkpoints").steps() == [24]
    assert whole.steps() == [6, 12, 18]


def test_from_a_run_that_was_as_long(tmp_path: Path) -> None:
    """Nothing is left to train, but the new folder holds a whole run all the same."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(first) == 0
    assert run(second, [f"resume={first}"]) == 0
    assert weights(second) == weights(first)
    assert {record["selected_step"] for record in records(second) if record.get("final")} == {18}


def test_rates_are_those_of_the_new_run(tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    stopped(first, ["optimizer.momentum=0.9"], after=6)
    options = [
        f"resume={first}",
        "optimizer.lr=0.001",
        "optimizer.momentum=0.5",
        "optimizer.weight_decay=0.1",
    ]
    assert run(second, options) == 0
    rates = [record["lr"] for record in records(second) if record["event"] == "train"]
    assert rates
    assert set(rates) == {0.001}
    group = CheckpointStore(second / "checkpoints").load().parts["engine"]["optimizer"]["groups"][0]
    assert (group["momentum"], group["weight_decay"], group["initial_lr"]) == (0.5, 0.1, 0.001)
    assert run(third, [f"resume={first}", "schedule=cosine", "optimizer.lr=0.01"]) == 0
    rates = [record["lr"] for record in records(third) if record["event"] == "train"]
    assert max(rates) <= 0.01


def test_killed_before_its_first_checkpoint_it_starts_there_again(tmp_path: Path) -> None:
    """The source was stopped in an evaluation, so the new run measures at the very step it starts from."""
    first, second, whole = tmp_path / "first", tmp_path / "second", tmp_path / "whole"
    assert run(first, [], {("measuring", 12): Signals("SIGTERM")}) == 75
    options = [f"resume={first}", "checkpoint.every_steps=100", "select.patience=9", "select.metric=accuracy"]
    options += ["evaluate.every_steps=6", "select.mode=min"]
    assert run(whole, options) == 2  # the source selects by another rule
    options = [f"resume={first}", "checkpoint.every_steps=100"]
    assert run(whole, options) == 0

    def fail(*_: object) -> None:
        raise DataError("no checkpoint was written")

    assert run(second, options, {("saving", 12): fail}) == 2
    assert [record["event"] for record in records(second)] == ["evaluation"]
    assert not CheckpointStore(second / "checkpoints").steps()
    assert run(second, options) == 0
    assert records(second) == records(whole)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["model.hidden=[8]"], "does not fit this run"),
        (["optimizer=adam"], "optimizer is of another kind"),
        (["policy=group_dro"], "policy GroupDRO keeps"),
        (["train.ema={decay: 0.9}"], "the engine keeps"),
        (["seed=3"], "was written while training on other data"),
        (["data=digits"], "was written while training on other data"),
        (["resume=nowhere"], "there is no such folder"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    stopped(first, [], after=3)
    capsys.readouterr()
    assert run(second, [f"resume={first}", *options]) == 2
    assert expected in capsys.readouterr().err
    assert not second.exists()
    assert read_status(first) is not None


def test_other_callbacks_begin_afresh(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(first, ["callbacks=[]"]) == 0
    assert run(second, [f"resume={first}", "train.steps=24"]) == 0
    counts = [record["counts"]["step"] for record in records(second) if record["event"] == "probe"]
    assert counts == [1, 2, 3, 4, 5, 6]
