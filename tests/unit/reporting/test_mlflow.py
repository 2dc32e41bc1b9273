from __future__ import annotations

import importlib.util
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.reporting import mlflow as module
from framework.reporting.mlflow import MlflowReporter, allowed, flat
from framework.training.hooks import RunHeader

TRAIN = {"event": "train", "step": 10, "epoch": 0, "loss": 0.1, "elapsed_seconds": 3.0}
POLICY = {"event": "policy", "step": 10, "epoch": 0, "q": {"label=a, b=1": 0.25}}


def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("policy: {name: rgd, clip: 2.0}\ncallbacks: [{name: profile}]\n")
    return folder


def header(resumed_at: int | None = None) -> RunHeader:
    return RunHeader("experiment", Path(), 20, 10, resumed_at, ())


def report(folder: Path, uri: str, records, resumed_at: int | None = None, outcome: str = "finished") -> None:
    reporter = MlflowReporter(folder, tracking_uri=uri)
    reporter.start(header(resumed_at))
    for record in records:
        reporter.record(record)
    reporter.sync()
    reporter.close(outcome)


def runs(uri: str):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("experiment")
    return client, client.search_runs([experiment.experiment_id])


def curve(client, run, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_a_resume_goes_on_with_the_same_run_and_repeats_nothing(tmp_path):
    pytest.importorskip("mlflow")
    folder, uri = run_folder(tmp_path), f"sqlite:///{tmp_path}/mlflow.db"
    report(folder, uri, [TRAIN, POLICY, {**TRAIN, "step": 20, "loss": 0.2}], outcome="interrupted")
    client, (run,) = runs(uri)
    assert run.info.status == "KILLED"
    assert run.data.params == {"policy.name": "rgd", "policy.clip": "2.0", "callbacks.0.name": "profile"}
    report(folder, uri, [{**TRAIN, "step": 20, "loss": 0.2}, {**TRAIN, "step": 30, "loss": 0.3}], 10)
    client, (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert curve(client, run, "train/loss") == [(10, 0.1), (20, 0.2), (30, 0.3)]
    assert curve(client, run, "policy/q/label:a b:1") == [(10, 0.25)]
    assert "train/elapsed_seconds" not in run.data.metrics


def test_a_server_that_comes_up_late_gets_everything(tmp_path, caplog):
    pytest.importorskip("mlflow")
    folder = run_folder(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    reporter = MlflowReporter(folder, tracking_uri=uri)
    with caplog.at_level(logging.INFO, "framework.reporting"):
        reporter.start(header())
        reporter.record(TRAIN)
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
        with (tmp_path / "server.log").open("w") as log:
            server = subprocess.Popen(
                [*command, *store], cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
            )
        try:
            assert reporter._outbox is not None
            while not (folder / "mlflow.json").exists():  # pytest's own time limit ends a failure
                assert server.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.05)
            reporter.close("finished")
            client, (run,) = runs(uri)
            assert curve(client, run, "train/loss") == [(10, 0.1)]
            assert run.info.status == "FINISHED"
        finally:
            os.killpg(server.pid, 9)
            server.wait()
    assert "answers again" in caplog.text


def test_a_server_that_is_down_is_one_warning(tmp_path, caplog, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setattr(module, "PATIENCE", 20.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refused
        report(run_folder(tmp_path), f"http://127.0.0.1:{closed.getsockname()[1]}", [TRAIN])
    assert "training goes on" in caplog.text
    assert "2 records are in metrics.jsonl alone" in caplog.text


def test_names_and_parameters():
    assert allowed("policy/q/label=odd, background=1") == "policy/q/label:odd background:1"
    assert allowed('a"<b>') == "a__b_"
    assert dict(flat({"a": {"b": 1, "c": [1, 2]}, "d": [{"name": "x"}]})) == {
        "a.b": "1",
        "a.c": "[1, 2]",
        "d.0.name": "x",
    }


def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install framework\[mlflow\]"):
        MlflowReporter(tmp_path)
