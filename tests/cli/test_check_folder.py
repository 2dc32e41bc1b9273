"""`check` sees what the run folder and `resume` would make of a start, and changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework.__main__ import main
from framework.run_folder import RunFolder
from tests import tiny


def contents(path: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("finished")
    conf = f"conf={tiny.write(folder)}"
    assert main([conf, f"run.dir={folder / 'run'}", "run.report=false"]) == 0
    return folder / "run", conf


def test_a_checkpoint_to_go_on_from_is_named_and_read(finished, tmp_path, capsys):
    run, conf = finished
    before = contents(run)
    assert main(["check", conf, f"run.dir={tmp_path / 'new'}", f"resume={run}"]) == 0
    assert re.search(r"goes on +from step 12: .*step-00000012", capsys.readouterr().out)
    assert contents(run) == before
    assert not (tmp_path / "new").exists()
    assert main(["check", conf, f"run.dir={run}", "run.overwrite=true", "run.report=false"]) == 0
    assert contents(run) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["run.dir=RUN"], "holds this run, and it is finished"),
        (["run.dir=RUN", "optimizer.lr=1"], "holds a finished run of another configuration"),
        (["resume=nowhere"], "there is no such folder"),
        (["resume=RUN", "model.hidden=[8]"], "model"),
        (["resume=RUN", "data.source.n=300"], "unknown key|other data"),
    ],
)
def test_what_would_stop_the_run_stops_the_check(finished, capsys, options, message):
    run, conf = finished
    words = [option.replace("RUN", str(run)) for option in options]
    assert main(["check", conf, "run.report=false", *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_folder_in_use(finished, tmp_path, capsys):
    with RunFolder.open("tiny", {}, dir=str(tmp_path / "run")):
        assert main(["check", finished[1], f"run.dir={tmp_path / 'run'}"]) == 2
    assert "in use by another process" in capsys.readouterr().err
