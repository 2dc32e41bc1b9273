from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.reporting.tensorboard import TensorboardReporter
from framework.training.hooks import RunHeader

RECORDS = [
    {"event": "train", "step": 10, "epoch": 0, "loss": 0.5, "lr": 0.1, "elapsed_seconds": 3.0},
    {"event": "policy", "step": 10, "epoch": 0, "q": {"a": 0.25, "b": 0.75}},
    {
        "event": "evaluation", "step": 10, "epoch": 1, "split": "validation", "accuracy": 0.5,
        "worst_group_accuracy": None, "worst_group": "b",
        "groups": [{"name": "a", "count": 3, "accuracy": 0.25, "loss": math.nan}],
    },
    {
        "event": "evaluation", "step": 20, "epoch": 1, "split": "validation", "accuracy": 0.75,
        "final": True, "selected_step": 10, "groups": [],
    },
]  # fmt: skip


def header(resumed_at: int | None) -> RunHeader:
    return RunHeader("r", Path(), 20, 10, resumed_at, (("model", "vit"),))


def write(folder: Path, resumed_at: int | None, records) -> None:
    reporter = TensorboardReporter(folder)
    reporter.start(header(resumed_at))
    for record in records:
        reporter.record(record)
    reporter.sync()
    reporter.close("finished")


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_scalars_are_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    write(tmp_path, None, RECORDS)
    found = read(tmp_path)
    assert found.pop("validation_groups/loss/a")[0][1] != 0
    assert found == {
        "train/loss": [(10, 0.5)],
        "train/lr": [(10, pytest.approx(0.1))],
        "policy/q/a": [(10, 0.25)],
        "policy/q/b": [(10, 0.75)],
        "validation/accuracy": [(10, 0.5)],
        "validation_groups/accuracy/a": [(10, 0.25)],
        "final_validation/accuracy": [(20, 0.75)],
    }


def test_a_resume_drops_the_steps_that_were_lost(tmp_path):
    pytest.importorskip("tensorboard")
    write(tmp_path, None, [{"event": "train", "step": step, "loss": 1.0} for step in (1, 2, 3, 4)])
    write(tmp_path, 2, [{"event": "train", "step": 3, "loss": 2.0}])
    assert read(tmp_path)["train/loss"] == [(1, 1.0), (2, 1.0), (3, 2.0)]


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install framework\[tensorboard\]"):
        TensorboardReporter(tmp_path)
