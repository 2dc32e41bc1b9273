from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import torch

from framework.callbacks.profile import Profile


def run_steps(callback, folder, first, last):
    run = SimpleNamespace(
        dir=folder,
        progress=SimpleNamespace(step=first - 1),
        engine=SimpleNamespace(world=SimpleNamespace(rank=0), device=torch.device("cpu")),
    )
    callback.on_start(run)
    for step in range(first, last + 1):
        with torch.profiler.record_function(f"step-{step}-begins"):
            torch.ones(2, 2) @ torch.ones(2, 2)
        run.progress.step = step
        callback.on_step(run)
    callback.on_end(run)
    return sorted(folder.glob("profile/*.json"))


def steps_in(path):
    names = {event.get("name", "") for event in json.loads(path.read_text())["traceEvents"]}
    return {int(name.split("-")[1]) for name in names if name.startswith("step-")}


@pytest.mark.parametrize("first", [1, 3])
def test_exactly_the_named_steps_are_traced(tmp_path, caplog, first):
    with caplog.at_level(logging.INFO, "framework"):
        (path,) = run_steps(Profile(first=first, steps=2), tmp_path, 1, 6)
    assert steps_in(path) == {first, first + 1}
    assert path.name == f"steps-{first}-{first + 1}-rank-0.json"
    assert "aten::matmul" in caplog.text


def test_a_run_that_ends_early_leaves_what_there_is(tmp_path):
    (path,) = run_steps(Profile(first=3, steps=10), tmp_path, 1, 4)
    assert steps_in(path) == {3, 4}


def test_a_run_resumed_behind_the_steps_profiles_nothing(tmp_path):
    assert run_steps(Profile(first=3, steps=2), tmp_path, 4, 8) == []
