"""Checkpoints and data that are no longer what they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.processes import weights
from tests.resume.runs import records, run, stopped

#: the selected checkpoint is soon not the newest, and three are kept
KEPT = ["checkpoint.keep_last=3", "checkpoint.every_steps=3", "evaluate.every_steps=3"]


def damage(folder: Path, step: int) -> None:
    path = folder / "checkpoints" / f"step-{step:08d}" / "engine.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_the_one_before_a_damaged_checkpoint_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, KEPT) == 0
    stopped(parts, KEPT, after=14)
    for step in (14, 12):
        damage(parts, step)
    assert run(parts, KEPT) == 0
    assert records(parts) == records(whole)
    assert weights(parts) == weights(whole)
    log = (parts / "log.txt").read_text()
    assert "step-00000014: the content of engine.safetensors has changed" in log
    assert "step-00000012: the content of engine.safetensors has changed" in log


def test_a_selection_that_is_gone_does_not_stop_the_run(tmp_path: Path) -> None:
    """What was selected before the checkpoint that is left may have been deleted since."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # Slow enough for every evaluation to be better than the one before.
    options = [*KEPT, "select.metric=loss", "optimizer.lr=0.02", "optimizer.momentum=0"]
    assert run(whole, options) == 0
    stopped(parts, options, after=8)
    checkpoints = parts / "checkpoints"
    best = (checkpoints / "best").read_text().strip()
    assert best != (checkpoints / "latest").read_text().strip()
    (checkpoints / "best").unlink()
    shutil.rmtree(checkpoints / best)
    assert run(parts, options) == 0
    assert f"the selected checkpoint, of step {int(best[5:])}, is gone" in (parts / "log.txt").read_text()
    assert records(parts) == records(whole)


def test_no_good_checkpoint_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    stopped(folder, KEPT, after=8)
    steps = sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))
    for step in steps:
        damage(folder, step)
    before = (folder / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert run(folder, KEPT) == 2
    error = capsys.readouterr().err
    assert "error: no checkpoint is good:" in error
    for step in steps:
        assert f"step-{step:08d}: the content of engine.safetensors has changed" in error
    assert (folder / "metrics.jsonl").read_bytes() == before


def arrays(folder: Path) -> tuple[Path, list[str]]:
    random = np.random.default_rng(0)
    file = folder / "data.npz"
    np.savez(file, inputs=random.normal(size=(200, 8)).astype(np.float32), targets=np.arange(200) % 4)
    refs = "{inputs: 'data.npz:inputs', targets: 'data.npz:targets'}"
    source = f"{{name: arrays, folder: {folder}, train: {refs}}}"
    return file, ["data=digits", f"data.source={source}"]


@pytest.mark.parametrize("what", ["label", "input", "fewer"])
def test_edited_data_is_refused(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, options = arrays(tmp_path)
    folder = tmp_path / "run"
    stopped(folder, options, after=5)
    content = dict(np.load(file))
    original = file.read_bytes()
    if what == "label":
        content["targets"][:2] = content["targets"][[1, 0]]
    elif what == "input":
        content["inputs"][123, 4] += 1
    else:
        content = {name: values[:-4] for name, values in content.items()}
    np.savez(file, **content)
    capsys.readouterr()
    assert run(folder, options) == 2
    assert "was written while training on other data" in capsys.readouterr().err
    file.write_bytes(original)
    assert run(folder, options) == 0
