"""Shards on a server: through a cache, whatever the server does."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.__main__ import main
from framework.config.batch_plan import BatchPlan
from framework.data.dataset import Dataset, Splits
from framework.data.faults import BadSampleError
from framework.data.loader import TrainLoader
from framework.data.order import BlockOrder
from framework.data.shards import download
from framework.data.shards.cache import Cache, byte_count
from framework.data.shards.download import Source
from framework.data.shards.manifest import Manifest, Shard
from framework.data.shards.remote import RemoteStore
from framework.errors import DataError
from framework.parallel.world import World
from tests.data_samples import component
from tests.unit.data.shards.samples import identities, pictures, read, write
from tests.unit.data.shards.server import Server, serving
from tests.unit.data.shards.test_exact import KILLS, STEPS, N, advance, layout


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_WAITS", (0.01, 0.02))
    monkeypatch.setattr(download, "_PIECE", 10_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write(tmp_path / "shards", {"train": pictures(N)})
    with serving(tmp_path / "shards") as server:
        yield server


def remote(server: Server, cache: Path, **options: Any) -> Splits:
    options = {"timeout_seconds": 1, "attempts": 3, "on_error": "quarantine", **options}
    splits: Splits = component("dataset", "webdataset", path=server.url, cache=str(cache), **options)
    return splits


def contents(dataset: Dataset, positions: list[int]) -> list[int]:
    inputs = dataset.fetch(np.array(positions), None)[0]
    assert isinstance(inputs, torch.Tensor)
    return identities(inputs)


def shards(server: Server) -> tuple[Shard, ...]:
    text = (server.folder / "manifest.json").read_bytes()
    return Manifest.model_validate(json.loads(text)).splits["train"].shards


def store(server: Server, cache: Path, limit: int | None = None) -> RemoteStore:
    return RemoteStore(server.url, Cache(cache, limit, Source(3, 1.0)))


def test_every_sample_is_read_and_every_byte_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        dataset = remote(server, tmp_path / "cache")["train"]
        assert contents(dataset, list(range(N))) == list(range(N))
    for shard in shards(server):
        assert server.sent[shard.file] == shard.bytes
    here = read(server.folder)["train"]
    there = remote(server, tmp_path / "cache")["train"]
    assert here.identity() == there.identity()


@pytest.mark.parametrize("sampling", ["uniform", "blocks"])
def test_any_layout_and_any_kill_sees_the_same_samples(server: Server, tmp_path: Path, sampling: str) -> None:
    local = read(server.folder)["train"]
    whole = advance(layout(local, sampling, 1, 0), STEPS)
    dataset = remote(server, tmp_path / "cache")["train"]
    for first, killed, second in KILLS[::4] + KILLS[-2:]:
        before = layout(dataset, sampling, *first)
        seen = advance(before, killed)
        after = layout(dataset, sampling, *second)
        for rank in after:
            rank.load_state_dict(before[0].state_dict())
        seen += advance(after, STEPS - killed)
        for rank in [*before, *after]:
            rank.close()
        assert seen == whole, f"{first} killed after {killed} batches, then {second}"


@pytest.mark.parametrize("fault", ["drop", "slow", "wrong", "whole", 503, 500])
def test_a_fault_that_passes_is_passed_over(server: Server, tmp_path: Path, fault: int | str) -> None:
    server.faults = {shard.file: [fault] for shard in shards(server)[:2]}
    dataset = remote(server, tmp_path / "cache")["train"]
    assert contents(dataset, [0, 9, 3]) == [0, 9, 3]
    assert all(not waiting for waiting in server.faults.values())


def test_what_came_before_a_fault_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    shard = shards(server)[0]
    assert shard.bytes > 20_000
    server.faults = {shard.file: ["", 503, ""]}
    store(server, tmp_path / "cache").map(shard)
    assert server.sent[shard.file] == shard.bytes
    # a process that was killed left a beginning
    other = shards(server)[1]
    content = (server.folder / other.file).read_bytes()
    (tmp_path / "cache" / f"{other.sha256}.part").write_bytes(content[:12_345])
    assert bytes(store(server, tmp_path / "cache").map(other)) == content
    assert server.sent[other.file] == other.bytes - 12_345


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (404, "there is no such file"),
        (503, "3 attempts failed, the last: ClientResponseError: 503"),
        ("slow", "3 attempts failed, the last: .*Timeout"),
        ("drop", "3 attempts failed, the last: ClientPayloadError"),
        ("wrong", "its SHA-256 is not that of the manifest"),
    ],
)
def test_a_fault_that_stays_names_url_attempts_and_reason(
    server: Server, tmp_path: Path, fault: int | str, reason: str
) -> None:
    bad = shards(server)[1]
    server.faults = {bad.file: [fault] * 99}
    dataset = remote(server, tmp_path / "cache")["train"]
    with pytest.raises(
        BadSampleError, match=f"shard {bad.file}: {server.url}/{bad.file}: .*{reason}"
    ) as raised:
        contents(dataset, [1, 9])
    assert raised.value.positions.tolist() == list(range(8, 16))
    assert contents(dataset, [1, 17]) == [1, 17]


def test_a_shard_that_is_shorter_than_the_manifest_says(server: Server, tmp_path: Path) -> None:
    shard = shards(server)[0]
    file = server.folder / shard.file
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(DataError, match=r"3 attempts failed.*bytes .* were asked for"):
        store(server, tmp_path / "cache").map(shard)


def test_a_folder_that_is_no_folder_of_shards(server: Server, tmp_path: Path) -> None:
    (server.folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest.json: there is no such file"):
        remote(server, tmp_path / "cache")
    with pytest.raises(DataError, match=r"pip install s3fs|Install s3fs"):
        component("dataset", "webdataset", path="s3://bucket/folder", cache=str(tmp_path))
    with pytest.raises(DataError, match="Protocol not known: gopher"):
        component("dataset", "webdataset", path="gopher://host/folder", cache=str(tmp_path))


def fetch(url: str, cache: Path, shard: Shard, start: float) -> None:
    time.sleep(max(start - time.time(), 0))
    RemoteStore(url, Cache(cache, None, Source())).map(shard)


def test_two_processes_fetch_a_shard_once(server: Server, tmp_path: Path) -> None:
    shard = shards(server)[0]
    server.faults = {shard.file: ["slow"]}
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=fetch, args=(server.url, tmp_path / "cache", shard, time.time() + 0.3))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert server.sent[shard.file] == shard.bytes


def copies(cache: Path) -> set[str]:
    return {path.stem for path in cache.glob("*.copy")}


def test_the_shard_used_longest_ago_goes_unless_it_is_in_use(server: Server, tmp_path: Path) -> None:
    cache, files = tmp_path / "cache", shards(server)
    kept = store(server, cache, limit=3 * files[0].bytes)
    first = kept.map(files[0])
    for age, shard in enumerate(files[1:3]):
        kept.local(shard)
        os.utime(cache / f"{shard.sha256}.copy", (age, age))
    os.utime(cache / f"{files[0].sha256}.copy", (0, 0))
    kept.local(files[3])
    assert copies(cache) == {files[k].sha256 for k in (0, 2, 3)}
    del first
    os.utime(cache / f"{files[0].sha256}.copy", (0, 0))
    kept.local(files[1])
    assert copies(cache) == {files[k].sha256 for k in (1, 2, 3)}


def test_what_comes_next_is_fetched_before_it_is_needed(server: Server, tmp_path: Path) -> None:
    dataset = remote(server, tmp_path / "cache")["train"]
    runs = dataset.runs()
    assert runs is not None
    order = BlockOrder(runs, N, 0, 2)
    plan = BatchPlan.solve(2, None, 1)
    loader = TrainLoader(dataset, np.zeros(N, np.int64), order, plan, World())
    next(loader)
    wanted = {files.sha256 for k in order.ahead(0, 0) for files in [shards(server)[int(k) // 8]]}
    deadline = time.monotonic() + 20
    while not wanted <= copies(tmp_path / "cache") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert wanted <= copies(tmp_path / "cache")
    assert len(wanted) == 4
    assert order.ahead(0, N - 1).tolist()[1:] == (8 * np.array(order._permuted_files(1)[0][:2])).tolist()


def test_sizes() -> None:
    assert [byte_count(text) for text in ("5", "2 kB", "1.5MB", "50gb", "1T")] == [
        5, 2000, 1_500_000, 50 * 10**9, 10**12,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'many' is no size"):
        byte_count("many")


def test_a_manifest_may_name_urls(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    content = json.loads((server.folder / "manifest.json").read_text())
    for shard in content["splits"]["train"]["shards"]:
        shard["file"] = f"{server.url}/{shard['file']}"
    (folder / "manifest.json").write_text(json.dumps(content))
    (folder / "index.safetensors").write_bytes((server.folder / "index.safetensors").read_bytes())
    names = f"{server.url}/train-{{000001..000002}}.tar"
    dataset = component(
        "dataset", "webdataset", path=str(folder), cache=str(tmp_path / "cache"), train=names
    )["train"]
    assert contents(dataset, [0, 15]) == [8, 23]
    assert len(copies(tmp_path / "cache")) == 2
    assert hashlib.sha256((server.folder / "train-000001.tar").read_bytes()).hexdigest() in copies(
        tmp_path / "cache"
    )


def test_shards_of_a_server_are_indexed_here_and_read_from_there(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [shard.file for shard in shards(server)]
    server.faults[files[0]] = ["drop", 503]
    pattern = f"{server.url}/{{{','.join(files)}}}"
    assert main(["shards", "index", pattern, "--out", str(tmp_path / "here")]) == 0
    splits = component(
        "dataset", "webdataset", path=str(tmp_path / "here"), cache=str(tmp_path / "cache"), timeout_seconds=1
    )
    assert sorted(contents(splits["train"], list(range(N)))) == list(range(N))
    manifest = json.loads((tmp_path / "here" / "manifest.json").read_text())["splits"]["train"]["shards"]
    assert [(s["file"], s["sha256"]) for s in manifest] == [
        (f"{server.url}/{s.file}", s.sha256) for s in shards(server)
    ]
    (server.folder / files[1]).unlink()
    assert main(["shards", "index", pattern, "--out", str(tmp_path / "again")]) == 2
    assert f"{server.url}/{files[1]}: there is no such file" in capsys.readouterr().err
