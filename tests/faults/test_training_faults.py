"""What goes wrong before, during and around training: one clear message, exit code 2, and no litter."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from framework.__main__ import main
from framework.run_folder import read_status
from tests.registrations import rolled_back
from tests.tiny import write
from tests.triggers import planned

PROBED = ["plugins=[tests.probes.plugin]", "task.name=probed", "callbacks=[{name: probe}]"]


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with rolled_back(Path(__file__).parents[1] / "probes"), planned({}):
        yield


def start(*overrides: str) -> int:
    return main([f"conf={write(Path())}", *PROBED, "checkpoint.every_steps=3", *overrides])


NEVER_BEGUN = {
    "a data file that is not there": (
        ["data=digits", "data.source={name: table, path: nowhere.csv, target: y}"],
        "nowhere.csv",
    ),
    "an unknown metric": (["select.metric=worst_group_acuracy"], "did you mean worst_group_accuracy?"),
    "a policy without its groups": (["policy=group_dro", "data.groups=[]"], "policy group_dro needs groups"),
    "a group column that is not there": (["data.groups=[colour]"], "colour"),
    "an option that does not fit": (["policy=also", "policy.pi_reg=[1, 2]"], "2 entries for 10 groups"),
    "a task that does not fit": (["task.name=regression"], "10 classes, not real-valued targets"),
    "a split that is empty": (
        ["data.splits={validation: 0.2, test: 0}", "evaluate.splits=[validation, test]"],
        "split 'test' is empty",
    ),
    "a checkpoint that is not there": (["resume=elsewhere"], "there is no such folder"),
}


@pytest.mark.parametrize("case", NEVER_BEGUN)
@pytest.mark.parametrize("dir", ["run.dir=deep/er/run", "run.dir=null"])
def test_a_run_that_never_began_leaves_nothing(
    case: str, dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected = NEVER_BEGUN[case]
    assert start(dir, *options) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_folders_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert start("run.dir=mine/run", "select.metric=nothing") == 2
    assert list((tmp_path / "mine").iterdir()) == []
    assert start("run.dir=mine", "select.metric=nothing") == 2
    assert start("run.dir=mine") == 0


def test_a_run_that_began_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "a broken cable")

    with planned({("start", 0): fail}), pytest.raises(OSError, match="a broken cable"):
        start("run.dir=run")
    status = read_status(Path("run"))
    assert status is not None
    assert status.state == "failed"
    assert "a broken cable" in status.reason
    assert start("run.dir=run") == 0


def test_groups_are_not_needed_by_erm() -> None:
    assert start("data.groups=[]", "run.dir=run") == 0


def full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_space_for_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsync = os.fsync
    fill = {("saving", 6): lambda: monkeypatch.setattr(os, "fsync", full)}
    with planned(fill):
        assert start("run.dir=run") == 2
    error = capsys.readouterr().err
    assert "error: the checkpoint run/checkpoints/step-00000006 cannot be written: No space left" in error
    assert "start the same command again to continue" in error
    assert "Traceback" not in error
    monkeypatch.setattr(os, "fsync", fsync)
    assert (Path("run/checkpoints/latest")).read_text() == "step-00000003\n"
    assert start("run.dir=run") == 0


class Full:
    """A file on a full disk."""

    def write(self, text: str) -> int:
        return full()

    def flush(self) -> None:
        full()

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)

    def close(self) -> None: ...


def test_no_space_for_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    def fill(run: Any) -> None:
        run.reporters[0]._file = Full()

    with planned({("step", 5): fill}):
        assert start("run.dir=run") == 2
    error = capsys.readouterr().err
    assert "error: cannot write run/metrics.jsonl: No space left on device" in error
    assert "Traceback" not in error
    status = read_status(Path("run"))
    assert status is not None
    assert status.state == "failed"
    assert start("run.dir=run") == 0


def test_the_folder_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    def replace(run: Any) -> None:
        shutil.rmtree("run")
        Path("run").write_text("a file")

    with planned({("step", 4): replace}):
        assert start("run.dir=run", "checkpoint.asynchronous=false") == 2
    error = capsys.readouterr().err
    assert "error: the checkpoint run/checkpoints/step-00000006 cannot be written: Not a directory" in error
    assert "run/status.json cannot be written: Not a directory" in error
    assert "Traceback" not in error
