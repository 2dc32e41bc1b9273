import json
import logging

import pytest

from framework.errors import UserError
from framework.run_folder import environment, read_metrics, record_environment, truncate_metrics
from framework.run_folder.environment import read_environments


def line(event: str, step: int | None, **more) -> bytes:
    record = {"event": event, "step": step, **more} if step is not None else {"event": event, **more}
    # Spacing that a rewrite would lose.
    return json.dumps(record, separators=(" , ", " : ")).encode() + b"\n"


RUN = line("run", 0)
TRAIN_10 = line("train", 10, loss=0.1 + 0.2)
SAVED_10 = line("checkpoint", 10)
TRAIN_20 = line("train", 20, name="é\u2028")
SAVED_20 = line("checkpoint", 20)
FINAL_20 = line("evaluation", 20, final=True)
TRAIN_30 = line("train", 30)
NO_STEP = line("note", None)
ALL = RUN + TRAIN_10 + SAVED_10 + NO_STEP + TRAIN_20 + SAVED_20 + FINAL_20 + TRAIN_30

CUTS = {
    "later steps": (ALL, 10, RUN + TRAIN_10 + SAVED_10),
    "after the checkpoint at its step": (ALL, 20, RUN + TRAIN_10 + SAVED_10 + NO_STEP + TRAIN_20 + SAVED_20),
    "nothing": (RUN + TRAIN_10 + SAVED_10, 10, RUN + TRAIN_10 + SAVED_10),
    "everything": (ALL, None, b""),
    "torn": (RUN + TRAIN_10 + SAVED_10 + TRAIN_20[:9], 10, RUN + TRAIN_10 + SAVED_10),
    "torn where only the newline is lost": (RUN + SAVED_10[:-1], 10, RUN),
    "no record of the checkpoint": (RUN + TRAIN_10 + TRAIN_20, 15, RUN + TRAIN_10),
    "saved twice": (
        RUN + SAVED_10 + TRAIN_10 + SAVED_10 + FINAL_20,
        10,
        RUN + SAVED_10 + TRAIN_10 + SAVED_10,
    ),
    "rubbish": (RUN + b"\x00\x00\n[1]\n" + TRAIN_10, 10, RUN + TRAIN_10),
    "empty": (b"", 10, b""),
}


@pytest.mark.parametrize(("before", "step", "after"), CUTS.values(), ids=CUTS)
def test_cut_back_to_a_checkpoint(before, step, after, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    truncate_metrics(path, step)
    assert path.read_bytes() == after
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_number_of_dropped_records(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert truncate_metrics(path, 3) == 0
    assert not path.exists()
    path.write_bytes(ALL)
    assert truncate_metrics(path, 10) == 5
    assert truncate_metrics(path, 10) == 0


def test_reading_a_file_that_is_being_written(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_bytes(RUN + b"{oops\n" + TRAIN_10 + TRAIN_20[:-3])
    with caplog.at_level(logging.WARNING):
        records = read_metrics(path)
    assert [record["event"] for record in records] == ["run", "train"]
    assert records[1]["loss"] == 0.1 + 0.2
    assert "metrics.jsonl:2 is not a record" in caplog.text


def test_the_environment_of_every_start_is_kept(tmp_path):
    record_environment(tmp_path, environment(seed=1))
    record_environment(tmp_path, environment(seed=2))
    first, second = read_environments(tmp_path)
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["packages"]["torch"]
    assert first["python"]
    assert {"started", "command", "platform", "cpu_count", "git"} <= first.keys()


def test_without_a_repository_there_is_no_git_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    monkeypatch.setenv("PATH", "")
    assert environment()["git"] is None


def test_a_folder_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"environment\.json cannot be written: Not a directory"):
        record_environment(tmp_path / "file", environment())
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written: Is a directory"):
        truncate_metrics(tmp_path / "metrics.jsonl", 1)
