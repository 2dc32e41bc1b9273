import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from framework.config import text
from framework.errors import ConfigError, UserError
from framework.run_folder import RunFolder, Status, read_status
from framework.run_folder.same_run import MAY_DIFFER, differences

CONFIG = {
    "name": "digits",
    "seed": 0,
    "train": {"epochs": 40, "clip_norm": None},
    "optimizer": {"name": "adamw", "lr": 1e-5, "betas": [0.9, 0.999]},
    "callbacks": [{"name": "watchdog"}],
    "data": {"workers": 0, "groups": ["label"]},
    "run": {"dir": None, "overwrite": False},
    "resume": "auto",
}


def changed(**values) -> dict:
    return {**CONFIG, **values}


def begin(path: Path, config: dict, state: str = "running", *, checkpoint: bool = True) -> None:
    """What a run leaves that got as far as its first checkpoint and then into `state`."""
    with RunFolder.open("digits", config, dir=str(path)) as folder:
        (path / "config.yaml").write_text(text.dump(config))
        Status(state).write(folder.path)
        if checkpoint:
            (folder.checkpoints / "step-00000010").mkdir(parents=True)
            (folder.checkpoints / "latest").write_text("step-00000010\n")


@dataclass
class Case:
    holds: str
    config: dict
    resume: str = "auto"
    overwrite: bool = False
    outcome: str = "new"  # new, continued, or a pattern of the message
    source: str | None = None


OTHER = changed(optimizer={"name": "adamw", "lr": 0.1, "betas": [0.9, 0.999]})
LONGER = changed(train={"epochs": 80, "clip_norm": None})
CASES = {
    "nothing": Case("absent", CONFIG),
    "empty": Case("empty", CONFIG),
    "empty, never": Case("empty", CONFIG, "never"),
    "died before it began": Case("unbegun", CONFIG),
    "died before it began, never": Case("unbegun", OTHER, "never"),
    "begun, no checkpoint": Case("no checkpoint", CONFIG, outcome="continued"),
    "killed": Case("running", CONFIG, outcome="continued"),
    "interrupted": Case("interrupted", CONFIG, outcome="continued"),
    "failed": Case("failed", CONFIG, outcome="continued"),
    "status lost": Case("no status", CONFIG, outcome="continued"),
    "status damaged": Case("bad status", CONFIG, outcome="continued"),
    "finished": Case("finished", CONFIG, outcome=r"holds this run, and it is finished.*run.overwrite=true"),
    "stopped": Case("stopped", CONFIG, outcome="it is finished"),
    "never": Case("running", CONFIG, "never", outcome=r"resume=never does not continue.*run.overwrite=true"),
    "other": Case(
        "running", OTHER, outcome=r"an unfinished run of another.*\n    optimizer.lr: 1e-05 there, 0.1 now$"
    ),
    "other, finished": Case("finished", OTHER, outcome="holds a finished run of another configuration"),
    "longer": Case(
        "running", LONGER, outcome=r"resume=.* with another run.dir.*train.epochs: 40 there, 80 now"
    ),
    "free keys": Case(
        "running",
        changed(run={"dir": "x"}, log={"every_steps": 3}, data={"workers": 4, "groups": ["label"]}),
        outcome="continued",
    ),
    "config damaged": Case("bad config", CONFIG, outcome="is not YAML"),
    "config lost": Case("no config", CONFIG, outcome=r"config.yaml cannot be read"),
    "overwrite": Case("running", OTHER, overwrite=True),
    "overwrite finished": Case("finished", CONFIG, overwrite=True),
    "overwrite, never": Case("running", CONFIG, "never", overwrite=True),
    "overwrite nothing": Case("absent", CONFIG, overwrite=True),
    "foreign": Case("foreign", CONFIG, outcome="is not empty and not a run folder"),
    "overwrite foreign": Case("foreign", CONFIG, overwrite=True, outcome="is left alone"),
    "a file": Case("file", CONFIG, overwrite=True, outcome="is left alone"),
    "from another": Case("absent", CONFIG, "SOURCE", source="SOURCE"),
    "from another, over": Case("running", CONFIG, "SOURCE", overwrite=True, source="SOURCE"),
    "from another, in a run that did not": Case("running", CONFIG, "SOURCE", outcome="did not start from"),
    "from another, again": Case("from source", CONFIG, "SOURCE", outcome="continued", source="SOURCE"),
    "from another, again by auto": Case("from source", CONFIG, outcome="continued", source="SOURCE"),
    "from itself": Case("running", CONFIG, "DIR", outcome="continued"),
    "from itself, over": Case("running", CONFIG, "DIR", overwrite=True, outcome="would delete"),
    "from its checkpoint": Case("running", CONFIG, "DIR/checkpoints", outcome="needs another run.dir"),
    "from nothing": Case("absent", CONFIG, "nowhere", outcome="no such folder"),
    "from a foreign folder": Case("absent", CONFIG, "FOREIGN", outcome="neither a run folder nor"),
}


def prepare(holds: str, path: Path, source: Path) -> None:
    match holds:
        case "absent":
            return
        case "empty":
            path.mkdir()
        case "unbegun":
            RunFolder.open("digits", CONFIG, dir=str(path)).close()
            (path / "log.txt").write_text("started\n")
            (path / "config.yaml").write_text("seed: ")
        case "foreign":
            path.mkdir()
            (path / "thesis.txt").write_text("mine")
        case "file":
            path.write_text("mine")
        case "from source":
            begin(path, changed(resume=str(source)), checkpoint=False)
        case "no checkpoint":
            begin(path, CONFIG, checkpoint=False)
        case "running" | "interrupted" | "failed" | "finished" | "stopped":
            begin(path, CONFIG, holds)
        case _:
            begin(path, CONFIG)
            what, file = holds.split()
            file = path / {"status": "status.json", "config": "config.yaml"}[file]
            if what == "no":
                file.unlink()
            else:
                file.write_text("{[")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_start_does(case, tmp_path):
    path, source, foreign = tmp_path / "run", tmp_path / "source", tmp_path / "foreign"
    begin(source, CONFIG, "finished")
    foreign.mkdir()
    prepare(case.holds, path, source)
    before = listing(path)
    names = {"SOURCE": str(source), "DIR": str(path), "FOREIGN": str(foreign)}
    resume = re.sub("[A-Z]+", lambda match: names[match[0]], case.resume)

    def start() -> RunFolder:
        return RunFolder.open("digits", case.config, dir=str(path), overwrite=case.overwrite, resume=resume)

    if case.outcome not in ("new", "continued"):
        with pytest.raises(UserError, match=f"(?s){case.outcome}"):
            start()
        assert listing(path) == before, "a refused start changes nothing"
        if path.is_dir() and case.holds != "foreign":
            RunFolder.open("digits", CONFIG, dir=str(path), overwrite=True).close()  # the lock is free again
        return
    with start() as folder:
        assert folder.path == path
        assert folder.continued == (case.outcome == "continued")
        assert folder.source == (Path(names[case.source]) if case.source else None)
        if case.overwrite:
            folder.begin()
            assert listing(path) == {".run.lock"}


def listing(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*")} if path.is_dir() else set()


def test_without_a_dir_every_start_has_its_own(tmp_path):
    folders = [RunFolder.open("digits", CONFIG, root=tmp_path) for _ in range(3)]
    assert len({folder.path for folder in folders}) == 3
    for folder in folders:
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", folder.path.name)
        assert folder.path.parent == tmp_path / "digits"
        assert not folder.continued
        folder.close()


def test_overwriting_does_not_follow_links(tmp_path):
    begin(tmp_path / "run", CONFIG)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("mine")
    (tmp_path / "run" / "link").symlink_to(outside)
    with RunFolder.open("digits", CONFIG, dir=str(tmp_path / "run"), overwrite=True) as folder:
        folder.begin()
    assert listing(tmp_path / "run") == {".run.lock"}
    assert (outside / "thesis.txt").exists()


def contents(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_a_start_that_fails_brings_back_what_it_was_to_overwrite(tmp_path):
    begin(tmp_path, CONFIG, "finished")
    (tmp_path / "log.txt").write_text("of the old run")
    before = contents(tmp_path)

    def fail() -> None:
        with RunFolder.open("digits", OTHER, dir=str(tmp_path), overwrite=True) as folder:
            (tmp_path / "log.txt").write_text("of the start that failed")
            assert not folder.continued
            raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        fail()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("begun", [False, True])
def test_a_start_that_is_killed_leaves_the_old_run_or_the_new_one(tmp_path, begun):
    begin(tmp_path, CONFIG)
    before = contents(tmp_path)
    killed = RunFolder.open("digits", OTHER, dir=str(tmp_path), overwrite=True)
    if begun:
        # between the first status and the end of the deletion, which a crash can reorder
        (tmp_path / "config.yaml").write_text(before["config.yaml"])
        Status("running").write(killed.path)
    killed.close()
    with RunFolder.open("digits", CONFIG, dir=str(tmp_path)) as folder:
        assert folder.continued
        assert ((tmp_path / "checkpoints").exists(), (tmp_path / ".overwritten").exists()) == (
            not begun,
            False,
        )


def test_two_runs_in_one_folder_are_refused_with_the_process(tmp_path):
    with (
        RunFolder.open("digits", CONFIG, dir=str(tmp_path / "run")),
        pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"),
    ):
        RunFolder.open("digits", CONFIG, dir=str(tmp_path / "run"), overwrite=True)
    RunFolder.open("digits", CONFIG, dir=str(tmp_path / "run")).close()


HOLDER = """
import os, sys, time
from pathlib import Path
from framework.run_folder.lock import Lock
lock = Lock(Path(sys.argv[1]))
holder = os.getpid()
if os.fork() == 0:
    print(holder, flush=True)  # by the child: it has run its fork hooks by now
time.sleep(60)
"""


def test_a_killed_process_gives_its_folder_back_although_its_workers_live(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        holder = process.stdout.readline().strip()
        with pytest.raises(ConfigError, match=f"in use by process {holder}"):
            RunFolder.open("digits", CONFIG, dir=str(tmp_path))
        os.kill(int(holder), signal.SIGKILL)
        process.wait()
        RunFolder.open("digits", CONFIG, dir=str(tmp_path)).close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made: Not a directory"):
        RunFolder.open("digits", CONFIG, dir=str(tmp_path / "file" / "run"))
    with pytest.raises(ConfigError, match="cannot be made: Not a directory"):
        RunFolder.open("digits", CONFIG, root=tmp_path / "file")


def test_status_survives(tmp_path):
    with RunFolder.open("digits", CONFIG, dir=str(tmp_path)) as folder:
        assert read_status(tmp_path) is None
        Status("interrupted", 120, "SIGTERM").write(folder.path)
    assert read_status(tmp_path) == Status("interrupted", 120, "SIGTERM", os.getpid())


def test_every_other_key_makes_another_run():
    assert differences(CONFIG, CONFIG) == []
    assert differences(CONFIG, changed(callbacks=[])) == [
        "callbacks: absent there, [] now",
        'callbacks.0.name: "watchdog" there, absent now',
    ]
    assert differences(CONFIG, changed(seed=False)) == ["seed: 0 there, false now"]
    assert differences(CONFIG, changed(runner=1)) == ["runner: absent there, 1 now"]


@pytest.mark.parametrize("key", MAY_DIFFER)
def test_free_keys(key):
    config: object = 1
    for name in reversed(key.split(".")):
        config = {name: config}
    assert isinstance(config, dict)
    assert differences({"seed": 0}, {"seed": 0, **config}) == []


def test_another_engine_and_another_cut_of_the_batch_continue_the_run():
    here = {"engine": {"name": "fsdp", "precision": "fp32", "cpu_offload": True}}
    there = {"engine": {"name": "single", "precision": "fp32"}}
    assert differences(here, there) == []
    assert differences(here, {"engine": {"name": "fsdp", "precision": "bf16"}}) == [
        'engine.precision: "fp32" there, "bf16" now'
    ]
    cut = {"batch": {"micro": 4, "accumulation": "exact"}}
    assert differences(cut, {"batch": {"micro": 8, "accumulation": "exact"}}) == []
    per_micro = {"batch": {"micro": 4, "accumulation": "per_micro"}}
    assert differences(per_micro, {"batch": {"micro": 8, "accumulation": "per_micro"}}) != []


VALUES = [1e-8, 1e22, 0.1, -0.0, float("nan"), float("inf"), "${x}", "\\${x}", "1e-8", "no", ""]


@pytest.mark.parametrize("value", VALUES)
def test_a_saved_config_is_the_same_run(value):
    config = changed(optimizer={"name": "adamw", "lr": value, "betas": (0.9, value)})
    saved = yaml.safe_load(text.dump({**config, "optimizer": {**config["optimizer"], "betas": [0.9, value]}}))
    assert differences(saved, config) == []
