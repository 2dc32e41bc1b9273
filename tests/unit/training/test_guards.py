"""Steps whose numbers are not finite: left out without a trace, and an end when there are too many."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.__main__ import main
from framework.checkpoint.tree import flatten
from framework.data.batch import Batch
from framework.run_folder import read_status
from framework.training.assemble import Run
from framework.training.loop import advance
from framework.training.stop_signal import StopSignal
from tests.registrations import rolled_back
from tests.tiny import assembled, write
from tests.triggers import ACTIONS, STEP, planned

PROBED = ["plugins=[tests.probes.plugin]", "task.name=probed", "callbacks=[{name: probe}]"]


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    with rolled_back(Path(__file__).parents[2] / "probes"), planned({}):
        yield


def spoiled(value: float, *rows: int) -> Callable[[Tensor, Tensor, Batch], Tensor]:
    """An action that makes the losses of these rows `value`."""

    def action(losses: Tensor, outputs: Tensor, batch: Batch) -> Tensor:
        mask = torch.zeros_like(losses, dtype=torch.bool)
        mask[list(rows)] = True
        return torch.where(mask, outputs.sum(1) * value, losses)

    return action


def kinked(losses: Tensor, outputs: Tensor, batch: Batch) -> Tensor:
    """The same losses with a gradient that is not a number."""
    return losses + (outputs * 0).sum(1).sqrt()


def trace(run: Run) -> dict[str, Tensor]:
    """Everything a skipped step must leave alone, on the very bits."""
    with run.engine.true_point():
        parts = {"engine": run.engine, "policy": run.policy, "meter": run.meter}
        flat = flatten({name: part.state_dict() for name, part in parts.items()}, copy=True)
    return {name: tensor.clone() for name, tensor in flat.tensors.items()}


CASES = {
    "nan in one loss": (["policy=erm"], spoiled(math.nan, 3), [3]),
    "infinite losses": (
        ["policy=rgd", "policy.normalization=sum_one"],
        spoiled(float("inf"), 0, 31),
        [0, 31],
    ),
    "nan in a gradient": (["policy=group_dro"], kinked, []),
    "nan in an optimistic gradient": (["policy=also", "policy.pi_lr=0.5"], kinked, []),
    "in the last micro-batch": (["policy=also", "batch.micro=8"], spoiled(math.nan, 7), [7, 15, 23, 31]),
    "in the pass before the policy": (
        ["policy=group_dro", "batch.micro=8"],
        spoiled(math.nan, 2),
        [2, 10, 18, 26],
    ),
    "in a policy's micro-batch": (
        ["policy=group_dro", "batch.micro=8", "batch.accumulation=per_micro"],
        spoiled(math.nan, 2),
        [2],
    ),
}
OPTIONS = ["optimizer=adam", "train.ema={decay: 0.9}", "model.norm=batch", "evaluate.every_epochs=null"]


@pytest.mark.parametrize("case", CASES)
def test_a_skipped_step_leaves_no_trace(case: str, tmp_path: Path) -> None:
    options, action, rows = CASES[case]
    run = assembled(tmp_path, [*PROBED, *OPTIONS, *options, "checkpoint.every_epochs=null"])
    told: list[dict[str, Any]] = []
    run.report = told.append  # type: ignore[method-assign]
    with StopSignal() as signals:
        for _ in range(3):
            advance(run, signals)
        before = trace(run)
        ACTIONS["losses", 3] = action
        if run.policy.needs_batch and run.plan.accumulation > 1:
            ACTIONS["measuring", 3] = action
        advance(run, signals)
        assert run.last is not None
        assert not run.last.taken
        after = trace(run)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name]), name
        assert all(parameter.grad is None for parameter in run.engine.model.parameters())
        index = run.last.samples.index
        skip = [record for record in told if record["event"] == "skip"]
        assert skip == [
            {"event": "skip", "step": 4, "epoch": 0, "samples": [int(index[row]) for row in rows]}
        ]
        assert (run.progress.step, run.progress.skipped) == (4, 1)
        ACTIONS.clear()
        advance(run, signals)
        assert run.last.taken
        assert run.progress.skipped == 0
        assert any(not torch.equal(tensor, trace(run)[name]) for name, tensor in before.items())


def test_running_statistics_survive_a_sample_of_nan(tmp_path: Path) -> None:
    run = assembled(tmp_path, ["model.norm=batch", "evaluate.every_epochs=null"])
    batch = next(run.loader)
    buffers = [buffer.clone() for buffer in run.engine.model.buffers()]
    assert buffers
    broken = copy.deepcopy(batch)
    broken.micros[0].inputs[5] = math.nan  # type: ignore[index]
    assert not run.step(broken).taken
    for buffer, before in zip(run.engine.model.buffers(), buffers, strict=True):
        assert torch.equal(buffer, before)
    assert run.step(batch).taken


def test_large_finite_losses_are_no_reason(tmp_path: Path) -> None:
    run = assembled(tmp_path, [*PROBED, "train.clip_norm=1.0"])
    ACTIONS["losses", 0] = lambda losses, outputs, batch: losses + 2e37
    result = run.step(next(run.loader))
    assert torch.isinf(result.samples.loss.sum())
    assert result.taken


def test_too_many_in_a_row_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"conf={write(tmp_path)}", *PROBED, "run.dir=run", "train.max_skipped=2", "log.every_steps=1"]
    words += ["checkpoint.every_steps=2", "evaluate.every_epochs=null", "checkpoint.every_epochs=null"]
    nan = spoiled(math.nan, 1, 2)
    ACTIONS.update({("losses", step): nan for step in (1, 3, 4, 6, 7, 8)})
    assert main(words) == 2
    error = capsys.readouterr().err
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    skips = [record for record in records if record["event"] == "skip"]
    assert [skip["step"] for skip in skips] == [2, 4, 5, 7, 8]
    assert all(len(skip["samples"]) == 2 for skip in skips)
    message = error.splitlines()[-1]
    assert message.startswith("error: step 9: the loss of 2 training sample(s) is not finite (index ")
    assert "3 steps in a row" in message
    assert f"The last good checkpoint is {Path('run/checkpoints/step-00000008')}." in message
    status = read_status(Path("run"))
    assert status is not None
    assert (status.state, status.step) == ("failed", 8)
    assert "step 9" in status.reason
    log = Path("run/log.txt").read_text()
    assert log.count("skipped: the loss of 2 training sample(s)") == 5
    assert "(2 in a row)" in log
    # The checkpoint was taken in the middle of the streak, and the count of it with it.
    STEP[0] = 0
    assert main(words) == 2
    assert "3 steps in a row" in capsys.readouterr().err
    ACTIONS.clear()
    assert main(words) == 0
    status = read_status(Path("run"))
    assert status is not None
    assert status.complete
    trained = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in trained if r["event"] == "train"] == [1, 3, 6, 9, 10, 11, 12]


def test_the_guard_tells_the_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    ACTIONS["losses", 2] = spoiled(math.nan, 0)
    ACTIONS["end", 2] = lambda run: seen.extend(run.callbacks[0].seen)
    words = [f"conf={write(tmp_path)}", *PROBED, "run.dir=run", "train.max_skipped=0"]
    assert main(words) == 2
    assert seen[-2].startswith("stop 2: step 3: the loss of 1 training sample(s)")
    assert seen[-1] == "end 2"
    assert "No checkpoint was written yet." in seen[-2]
