"""The environment by which NCCL records exchanges, and where a standstill says they will be."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from framework.parallel import flight_recorder, process_group
from framework.parallel.standstill import Standstill
from framework.parallel.world import World


def test_it_is_switched_on_under_both_names() -> None:
    environment: dict[str, str] = {}
    flight_recorder.switch_on(environment)
    assert environment == {
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_NCCL_TRACE_BUFFER_SIZE": "2000",
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
    }


def test_what_a_user_set_stays(tmp_path: Path) -> None:
    given = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "0", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}
    given["TORCH_NCCL_DEBUG_INFO_TEMP_FILE"] = "/elsewhere/rank_"
    environment = dict(given)
    flight_recorder.switch_on(environment)
    assert flight_recorder.dump_into(tmp_path, 3, environment) == Path("/elsewhere/rank_3")
    assert environment == given


def test_the_file_lies_in_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.chdir(tmp_path)
    path = flight_recorder.dump_into(Path("run"), 1, environment)
    assert path == tmp_path / "run" / "collectives-rank-1"
    assert set(environment) == {"TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE"}
    assert all(f"{prefix}1" == str(path) for prefix in environment.values())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_is_on_before_the_processes_of_gpus_meet(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def rendezvous(*_: object, **__: object) -> None:
        order.append("meet")
        raise ValueError("nobody there")

    monkeypatch.setattr(process_group, "device_of", lambda world: torch.device(device))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(flight_recorder, "switch_on", lambda: order.append("on"))
    monkeypatch.setattr(process_group, "rendezvous", rendezvous)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(Exception, match="nobody there"), process_group.process_group(World(0, 2), 1.0):
        pass
    assert order == (["on", "meet"] if device == "cuda" else ["meet"])


def test_a_standstill_names_the_file(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with Standstill(log, World(1, 2), 0.2, tmp_path / "collectives-rank-1"):
        deadline = time.monotonic() + 120
        while (not log.exists() or "test_flight" not in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
    first = log.read_text().splitlines()[0]
    assert first.startswith("rank 1: nothing has moved for 0.14 s; if it waits")
    assert f"will be in {tmp_path / 'collectives-rank-1'}; all threads:" in first
