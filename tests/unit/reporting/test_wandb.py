from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.reporting.wandb import WandbReporter
from framework.training.hooks import RunHeader

TRAIN = {"event": "train", "step": 10, "epoch": 0, "loss": 0.5}


def report(folder: Path, records) -> str:
    import wandb

    reporter = WandbReporter(folder, project="p", mode="offline")
    reporter.start(RunHeader("r", Path(), 20, 10, None, ()))
    for record in records:
        reporter.record(record)
    reporter.close("finished")
    # Starts are processes of their own; in one process wandb's service mixes up two runs of one id.
    wandb.teardown()
    return str(json.loads((folder / "wandb.json").read_text())["run_id"])


def log_entries(content: bytes) -> Iterator[bytes]:
    """The entries of a file in LevelDB's log format, which begins with seven bytes of wandb's own.

    Each is one whole piece: checksum (4 bytes), length (2), kind (1), data.
    """
    place = 7
    while place + 7 <= len(content):
        length, kind = struct.unpack_from("<HB", content, place + 4)
        assert kind == 1, "a test this small writes no entry in pieces"
        yield content[place + 7 : place + 7 + length]
        place += 7 + length


def history(folder: Path) -> list[dict[str, float]]:
    """What the offline files of all starts hold, in order."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for data in log_entries(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                rows.append({key: json.loads(value) for key, value in items.items() if key[0] != "_"})
    return rows


def test_two_starts_are_one_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")  # the option wins
    (tmp_path / "config.yaml").write_text("policy: {name: rgd}\n")
    first = report(tmp_path, [TRAIN, {"event": "run"}])
    second = report(tmp_path, [{**TRAIN, "step": 20, "loss": 0.25}])
    assert first == second
    # Of two starts in one second, wandb puts a number behind the second one's folder.
    assert [first in path.name for path in tmp_path.glob("wandb/offline-run-*")] == [True, True]
    rows = history(tmp_path)
    assert [(row["step"], row["train/loss"]) for row in rows] == [(10, 0.5), (20, 0.25)]


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install framework\[wandb\]"):
        WandbReporter(tmp_path)
