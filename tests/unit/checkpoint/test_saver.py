"""A checkpoint in the making beside training, on one process: when it is told, and what an error does."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import torch

from framework.checkpoint import saver as module
from framework.checkpoint.saver import Order, Saver
from framework.checkpoint.snapshot import snapshot
from framework.checkpoint.store import CheckpointStore
from framework.errors import CheckpointError
from framework.parallel.world import World


class Gate:
    """Holds a writing thread until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        write = module.write_share

        def held(*args, **options):
            assert self.open.wait(60)
            return write(*args, **options)

        monkeypatch.setattr(module, "write_share", held)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def order(step: int, value: float = 0.0, best: int | None = None) -> Order:
    parts = snapshot({"engine": {"w": torch.tensor([value])}})
    return Order(step, parts, {}, keep_last=1, best=best)


def test_it_is_told_once_and_only_when_published(store, monkeypatch):
    gate = Gate(monkeypatch)
    saver = Saver(store, World(), 10)
    assert saver.collect() is None
    saver.start(order(3, best=3))
    assert saver.collect() is None
    assert store.newest() is None
    with pytest.raises(AssertionError):
        saver.start(order(4))
    gate.open.set()
    saver.wait()
    assert saver.collect() == store.newest() == store.folder / "step-00000003"
    assert store.marked("best") == 3
    assert saver.collect() is None


def test_the_best_one_is_marked_and_kept(store):
    saver = Saver(store, World(), 10)
    for step in (1, 2, 3):
        saver.start(order(step, best=1))
        saver.wait()
        saver.collect()
    assert store.steps() == [1, 3]
    assert store.marked("best") == 1


def test_a_full_disk_is_told_at_the_next_look_and_leaves_the_one_before(store, monkeypatch):
    saver = Saver(store, World(), 10)
    saver.start(order(1))
    saver.wait()
    saver.collect()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        saver.start(order(2))
        saver.wait()
        with pytest.raises(CheckpointError, match=r"step-00000002 cannot be written: No space left"):
            saver.collect()
    assert saver.collect() is None
    assert [path.name for path in sorted(store.folder.iterdir())] == ["latest", "step-00000001"]
    saver.start(order(2))
    saver.wait()
    assert saver.collect() == store.newest()


def test_any_other_error_of_the_thread_is_told_too(store, monkeypatch):
    def broken(*_):
        raise LookupError("a mistake")

    monkeypatch.setattr(module, "write_share", broken)
    saver = Saver(store, World(), 10)
    saver.start(order(1))
    saver.wait()
    with pytest.raises(CheckpointError, match="cannot be written: LookupError: a mistake"):
        saver.collect()
    assert not list(store.folder.iterdir())


def test_a_run_that_fails_completes_what_is_in_the_making(store, monkeypatch):
    gate = Gate(monkeypatch)
    saver = Saver(store, World(), 10)
    saver.start(order(1))
    threading.Timer(0.1, gate.open.set).start()
    saver.abandon()
    assert store.load().step == 1
    saver.abandon()
