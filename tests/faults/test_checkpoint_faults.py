import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.store import CheckpointStore
from framework.errors import CheckpointError
from tests.faults.disk import DONE, KILLED, fail_at, kill_at

SCENES = ("first", "next", "after_a_kill", "same_step_again", "same_step_other_content")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    # What a power cut takes is simulated by `Disk`; the real disk need not be waited for.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def parts(step: int, version: int = 0) -> dict:
    weights = torch.randn(40, 7, generator=torch.Generator().manual_seed(1000 * version + step))
    return {
        "engine": {"model": {"w": weights}},
        "policy": {"q": weights[0], "step": step, "version": version},
    }


def save(store: CheckpointStore, step: int, version: int = 0, keep_last: int = 2) -> None:
    store.save(step, parts(step, version), {"step": step, "version": version}, keep_last)


def is_exact(checkpoint: Checkpoint) -> bool:
    version = checkpoint.meta["version"]
    expected = parts(checkpoint.step, version)
    engine, policy = checkpoint.parts["engine"], checkpoint.parts["policy"]
    return (
        checkpoint.meta["step"] == policy["step"] == checkpoint.step
        and policy["version"] == version
        and torch.equal(engine["model"]["w"], expected["engine"]["model"]["w"])
        and torch.equal(policy["q"], expected["policy"]["q"])
    )


def prepare(folder: Path, scene: str) -> tuple[CheckpointStore, Callable[[], None], set]:
    """A store, a save in it, and the (step, version) pairs that may be found whenever that save dies."""
    store = CheckpointStore(folder / "checkpoints")
    if scene == "first":
        return store, lambda: save(store, 30), {(30, 0)}
    save(store, 10)
    store.mark_best(10)
    save(store, 20)
    if scene == "after_a_kill":
        # Dead between the two renames of a replacement: the only step 20 has no good name.
        (store.folder / "step-00000020").rename(store.folder / f"step-00000020.old-{dead_process()}")
    if scene in ("next", "after_a_kill"):
        return store, lambda: save(store, 30, keep_last=1), {(20, 0), (30, 0)}
    if scene == "same_step_again":
        return store, lambda: save(store, 20), {(20, 0)}
    return store, lambda: save(store, 20, version=1), {(20, 0), (20, 1)}


def dead_process() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def check(store: CheckpointStore, allowed: set, scene: str) -> tuple[int, int] | None:
    """A complete checkpoint is there, the best one untouched, and the next save leaves nothing behind."""
    found = None
    if store.steps():
        checkpoint = store.load()
        found = (checkpoint.step, checkpoint.meta["version"])
        assert found in allowed
        assert is_exact(checkpoint)
        assert not checkpoint.refused
        assert store.marked("latest") in {None, *store.steps()}, "never a pointer to what is not there yet"
        for step in store.steps():
            assert is_exact(store.load(step)), "no half checkpoint under a good name"
    else:
        assert scene == "first"
    if scene != "first":
        assert is_exact(store.load("best"))
        assert store.load("best").step == 10
    save(store, 40, keep_last=1)
    assert is_exact(store.load())
    names = {path.name for path in store.folder.iterdir()}
    best = set() if scene == "first" else {"best", "step-00000010"}
    assert names == {"latest", "step-00000040"} | best
    return found


@pytest.mark.parametrize(
    ("scene", "power_cut"),
    [
        *(pytest.param(scene, True, id=f"{scene}-power_cut") for scene in SCENES),
        *(
            pytest.param(scene, False, id=f"{scene}-kill", marks=[] if scene == "next" else pytest.mark.slow)
            for scene in SCENES
        ),
    ],
)
def test_killed_at_every_disk_operation(scene, power_cut, tmp_path):
    found = []
    for nth in range(1, 500):
        folder = tmp_path / str(nth)
        store, action, allowed = prepare(folder, scene)
        code = kill_at(nth, action, power_cut_of=folder if power_cut else None)
        assert code in (KILLED, DONE)
        found.append(check(store, allowed, scene))
        if code == DONE:
            break
    assert len(found) > 15, "few operations: the disk is not the one that is used"
    assert set(found) - {None} == allowed, "some outcome never came up"


def attempt(nth: int, action: Callable[[], None], forever: bool) -> tuple[str, int]:
    """The error of a save whose n-th operation fails, and how many operations it tried (n if it failed)."""
    try:
        return "", fail_at(nth, action, forever=forever)
    except CheckpointError as error:
        return str(error), nth


@pytest.mark.parametrize("forever", [False, True], ids=["once", "from_then_on"])
@pytest.mark.parametrize("scene", SCENES)
def test_disk_full_at_every_operation(scene, forever, tmp_path):
    for nth in range(1, 500):
        store, action, allowed = prepare(tmp_path / str(nth), scene)
        message, count = attempt(nth, action, forever)
        if message:
            assert "No space left on device" in message
            assert "Earlier checkpoints are as they were" in message
            assert forever or not list(store.folder.glob("*.tmp-*"))
        check(store, allowed, scene)
        if count < nth:
            return
    raise AssertionError("it never gets done")


def test_marking_the_best_killed_at_every_operation(tmp_path):
    outcomes = set()
    for nth in range(1, 100):
        store, _, _ = prepare(tmp_path / str(nth), "next")
        code = kill_at(nth, lambda store=store: store.mark_best(20), power_cut_of=tmp_path / str(nth))
        outcomes.add(store.load("best").step)
        if code == DONE:
            break
    assert outcomes == {10, 20}


def test_a_folder_without_permission_says_so(tmp_path):
    store, action, allowed = prepare(tmp_path, "next")
    with pytest.raises(
        CheckpointError, match=r"step-00000030 cannot be written: Permission denied \([\d,]+ bytes"
    ):
        fail_at(2, action, code=errno.EACCES)
    check(store, allowed, "next")


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    store = CheckpointStore(tmp_path)
    for step in (10, 20, 30):
        save(store, step, keep_last=3)
    return store


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


FILES = [
    "engine.json",
    "engine.safetensors",
    "manifest.json",
    "meta.json",
    "policy.json",
    "policy.safetensors",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "damage", ["first_bit", "middle_bit", "last_bit", "cut", "emptied", "longer", "missing", "folder"]
)
def test_damage_is_refused_and_the_one_before_is_taken(store, file, damage, caplog):
    path = store.folder / "step-00000030" / file
    assert files_of(path.parent) == FILES
    content = bytearray(path.read_bytes())
    match damage:
        case "first_bit" | "middle_bit" | "last_bit":
            # The last byte of a JSON file is a newline, which means nothing to its reader.
            content[{"first_bit": 0, "middle_bit": len(content) // 2, "last_bit": -2}[damage]] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-10])
        case "emptied":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(content + b"x")
        case "missing":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    with caplog.at_level(logging.WARNING):
        checkpoint = store.load()
    assert checkpoint.step == 20
    assert is_exact(checkpoint)
    assert len(checkpoint.refused) == 1
    assert checkpoint.refused[0].startswith(f"{path.parent}: ")
    assert file in checkpoint.refused[0]
    assert "step-00000030" in caplog.text
    with pytest.raises(CheckpointError, match=file):
        store.load(30)


def test_no_bit_of_a_manifest_can_change_unnoticed(store):
    path = store.folder / "step-00000030" / "manifest.json"
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        checkpoint = store.load()
        # Only white space may change, which means nothing.
        assert checkpoint.step == 20 or not content[position : position + 1].strip(), (position, damaged)
        assert is_exact(checkpoint)


def test_when_none_is_good_every_reason_is_given(store):
    (store.folder / "step-00000010" / "manifest.json").unlink()
    (store.folder / "step-00000020" / "engine.safetensors").write_bytes(b"")
    (store.folder / "step-00000030" / "policy.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        store.load()
    lines = str(caught.value).splitlines()
    assert lines[0] == "no checkpoint is good:"
    assert [line.split("step-")[1] for line in lines[1:]] == [
        "00000030: policy.json is missing",
        "00000020: engine.safetensors has 0 bytes instead of 1200",
        "00000010: manifest.json is missing: the checkpoint was never completed",
    ]


def test_a_future_format_is_refused_with_advice(store, monkeypatch):
    monkeypatch.setattr("framework.checkpoint.manifest.FORMAT", 3)
    save(store, 40, keep_last=4)
    monkeypatch.undo()
    checkpoint = store.load()
    assert checkpoint.step == 30
    assert "it has format 3, this version reads format 2" in checkpoint.refused[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"step-99", b"../step-00000020\n", b"step-00000077\n"])
def test_a_damaged_pointer_means_the_newest_good_one(store, content):
    (store.folder / "latest").write_bytes(content)
    assert store.load().step == 30
    (store.folder / "latest").unlink()
    assert store.load().step == 30


def test_the_pointer_counts_more_than_the_number(store):
    (store.folder / "latest").write_text("step-00000020\n")
    assert store.load().step == 20


def test_foreign_files_are_neither_read_nor_deleted(store):
    foreign = ["step-12", "step-00000099x", "notes.txt", "step-00000005.tmp-x", "backup-step-00000010"]
    for name in foreign:
        (store.folder / name).mkdir()
    (store.folder / "step-00000030" / "notes.txt").write_text("mine")
    (store.folder / "step-00000500").write_text("a file")
    assert store.load().step == 30
    save(store, 40, keep_last=1)
    assert set(foreign) <= {path.name for path in store.folder.iterdir()}


def test_leftovers_of_living_processes_stay(store):
    alive, mine = f"step-00000050.tmp-{os.getppid()}", f"step-00000050.tmp-{os.getpid()}"
    for name in (alive, mine):
        (store.folder / name).mkdir()
    save(store, 40)
    assert (store.folder / alive).exists()
    assert not (store.folder / mine).exists()
