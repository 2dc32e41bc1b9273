"""How fast samples come from shards: against webdataset reading the same files, and against memory.

All variants take turns in one process, round by round, so that a noisy machine slows them alike; ratios are
medians over the rounds of the ratio within a round.

    python tools/bench_data.py
    python tools/bench_data.py --only raw png --rounds 9
"""

from __future__ import annotations

import argparse
import http.server
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from bench_step import framework_run, interleaved, ratio, stepper
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from framework.config.batch_plan import BatchPlan
from framework.config.load import load
from framework.data.batch import DataSpec
from framework.data.build import read_splits
from framework.data.dataset import Dataset
from framework.data.fingerprint import fingerprint
from framework.data.in_memory import ArrayDataset
from framework.data.loader import TrainLoader
from framework.data.order import UniformOrder
from framework.data.shards import tar
from framework.data.shards.encode import Images
from framework.data.shards.index import write_index
from framework.data.shards.manifest import Groups, InputField, Manifest, Shard, Split
from framework.data.shards.writer import write_shards
from framework.parallel.world import World
from framework.registry import registry

BATCH = 128
Variant = Callable[[], int]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=sorted(BENCHES), default=list(BENCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=20_000)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    missed = False
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            for text, ratio, limit, at_least in BENCHES[name](Path(folder), given.samples, given.rounds):
                good = ratio >= limit if at_least else ratio <= limit
                missed = missed or not good
                sign = ">=" if at_least else "<="
                print(f"{text:<72} {ratio:8.3g}  ({sign} {limit:g}{'' if good else ', MISSED'})", flush=True)
    return int(missed)


def images(count: int) -> ArrayDataset:
    """Pictures of 32 x 32 in three channels: smooth, as photographs are, with some noise."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8).repeat(4, 2).repeat(4, 3)
    pixels = (coarse // 2 + random.integers(0, 64, coarse.shape, dtype=np.uint8)).astype(np.uint8)
    inputs = torch.from_numpy(pixels).float().div_(255)
    return ArrayDataset(inputs, torch.arange(count) % 10, DataSpec((3, 32, 32), 10, tuple("0123456789")))


def tokens(count: int) -> ArrayDataset:
    """Records of 128 token ids, 1 kB each."""
    inputs = torch.randint(0, 50_000, (count, 128), generator=torch.Generator().manual_seed(0))
    return ArrayDataset(inputs, torch.arange(count) % 10, DataSpec((128,), 10, tuple("0123456789")))


def written(dataset: Dataset, folder: Path, form: Images) -> tuple[Dataset, list[str]]:
    """The dataset read from shards, and the paths of these."""
    manifest = write_shards(
        {"train": dataset}, folder, group_columns=["label"], made_from="bench", images=form,
        max_size=16_000_000, workers=2,
    )  # fmt: skip
    component = registry.get("dataset", "webdataset")
    options = component.model.model_validate({"name": "webdataset", "path": str(folder)})
    splits = component.build(options, on_error="stop")
    return splits["train"], [str(folder / shard.file) for shard in manifest.splits["train"].shards]


def ours(dataset: Dataset, workers: int = 0) -> Iterator[int]:
    """Batches of the loader, for ever."""
    count = len(dataset)
    plan = BatchPlan.solve(BATCH, None, 1)
    loader = TrainLoader(dataset, np.zeros(count, np.int64), UniformOrder(count, 0), plan, World(), workers)
    while True:
        yield next(loader).num_samples


def theirs(paths: list[str], decode: Callable[[dict[str, Any]], Any], workers: int = 0) -> Iterator[int]:
    """Batches of webdataset, shuffled through a buffer, for ever."""
    data = wds.WebDataset(paths, shardshuffle=len(paths)).shuffle(1000).map(decode).batched(BATCH)
    loader = DataLoader(data.repeat(), batch_size=None, num_workers=workers)
    for inputs, _ in loader:
        yield len(inputs)


def memory(dataset: ArrayDataset) -> Iterator[int]:
    """Batches of torch's loader over tensors, for ever."""
    assert isinstance(dataset.inputs, torch.Tensor)
    loader = DataLoader(TensorDataset(dataset.inputs, dataset.targets), BATCH, shuffle=True)
    while True:
        for inputs, _ in loader:
            yield len(inputs)


def take(batches: Iterator[int], seconds: float = 0.5) -> float:
    """Samples a second over about `seconds`."""
    start = time.perf_counter()
    count = 0
    while (spent := time.perf_counter() - start) < seconds:
        count += next(batches)
    return count / spent


def rates(variants: dict[str, Iterator[int]], rounds: int) -> dict[str, list[float]]:
    """Samples a second of each variant in each round."""
    for batches in variants.values():
        take(batches, 1.0)  # starts processes, fills buffers and the page cache
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, batches in variants.items():
            found[name].append(take(batches))
    return found


Line = tuple[str, float, float, bool]


def _array(sample: dict[str, Any]) -> tuple[torch.Tensor, str]:
    return torch.from_numpy(np.load(io.BytesIO(sample["npy"]))), json.loads(sample["json"])["label"]


def _pixels(sample: dict[str, Any]) -> tuple[torch.Tensor, str]:
    array, label = _array(sample)
    return array.float().div_(255), label


def _picture(sample: dict[str, Any]) -> tuple[torch.Tensor, str]:
    pixels = np.array(Image.open(io.BytesIO(sample["png"]))).transpose(2, 0, 1)
    return torch.from_numpy(pixels).float().div_(255), json.loads(sample["json"])["label"]


def bench_raw(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """Raw pictures and token records."""
    for text, dataset, decode in (
        ("raw 32 x 32 pictures", images(samples), _pixels),
        ("1 kB token records", tokens(samples), _array),
    ):
        shards, paths = written(dataset, folder / text, "raw")
        found = rates(
            {"ours": ours(shards), "theirs": theirs(paths, decode), "memory": memory(dataset)}, rounds
        )
        print(f"{text}: {statistics.median(found['ours']):,.0f} samples/s here and now")
        yield f"{text}, shuffled: shards / webdataset", ratio(found, "ours", "theirs"), 10, True
        yield f"{text}, shuffled: shards / TensorDataset", ratio(found, "ours", "memory"), 0.9, True


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Not here."""


def bench_remote(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """Shards of a server whose copies are in the cache, beside the same shards where they lie."""
    shards, _ = written(images(samples), folder / "shards", "raw")
    handler = partial(_Quiet, directory=str(folder / "shards"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    options = registry.get("dataset", "webdataset").model.model_validate(
        {"name": "webdataset", "path": url, "cache": str(folder / "cache")}
    )
    remote = registry.build("dataset", options, on_error="stop")["train"]
    remote.fetch(np.arange(len(remote)), None)
    server.shutdown()
    found = rates({"remote": ours(remote), "local": ours(shards)}, rounds)
    yield "second epoch of remote shards / local shards", ratio(found, "remote", "local"), 0.95, True


def bench_png(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """Compressed pictures, decoded in as many processes."""
    shards, paths = written(images(min(samples, 10_000)), folder, "png")
    for workers in (0, 2):
        found = rates({"ours": ours(shards, workers), "theirs": theirs(paths, _picture, workers)}, rounds)
        text = f"png 32 x 32, {workers} workers: shards / webdataset"
        yield text, ratio(found, "ours", "theirs"), 2, True


def bench_index(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """Finding the samples of tars made by webdataset."""
    with wds.TarWriter(str(folder / "a.tar"), mtime=0) as sink:
        for number in range(samples):
            sink.write({"__key__": f"{number:08d}", "npy": bytes(200), "cls": number % 10})
    found = []
    for _ in range(rounds):
        # the processor's time: what another program takes of it is not this one's
        start = time.process_time()
        count = sum(1 for _ in tar.group(tar.scan(tar.mapped(folder / "a.tar"))))
        found.append(count / (time.process_time() - start))
    assert count == samples
    yield "samples indexed per second of processor time", statistics.median(found), 150_000, True


_OPENING = """
import resource, sys, time
from pathlib import Path
from framework.data.shards.dataset import open_split
from framework.data.shards.index import of_split, open_index
from framework.data.shards.manifest import read_manifest
from framework.data.shards.store import LocalStore

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

folder, before, start = Path(sys.argv[1]), megabytes(), time.process_time()
manifest = read_manifest(folder)
arrays, _ = open_index(folder / manifest.index.file)
dataset = open_split(manifest, of_split(arrays, "train"), "train", LocalStore(folder))
assert len(dataset) == 10_000_000
print(time.process_time() - start, megabytes() - before)
"""


def bench_manifest(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """Opening a manifest of ten million samples in a process of its own."""
    count, per_shard = 10_000_000, 10_000
    shards = tuple(
        Shard(file=f"train-{k:06d}.tar", bytes=1, sha256="0" * 64, samples=per_shard, groups=(per_shard,))
        for k in range(count // per_shard)
    )
    field = InputField(member="npy", kind="array", dtype="uint8", shape=(3, 8, 8), scale=255)
    manifest = Manifest(
        inputs={"": field}, input_shape=field.shape, classes=("a", "b"), columns={"label": ("a", "b")},
        extra=(), groups=Groups(columns=("label",), names=("a", "b"), counts={}),
        splits={"train": Split(samples=count, shards=shards)},
    )  # fmt: skip
    arrays: dict[str, np.ndarray] = {
        "train/offset.npy": np.arange(count, dtype=np.uint32) * 512,
        "train/size.npy": np.full(count, 320, np.uint32),
        "train/crc32.npy": np.zeros(count, np.uint32),
        "train/column.label": (np.arange(count) % 2).astype(np.int8),
    }
    write_index(folder, arrays, manifest)
    found = []
    for _ in range(3):
        command = [sys.executable, "-c", _OPENING, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append([float(word) for word in done.stdout.split()])
    yield (
        "10 million samples, opened as a data set: seconds of processor time",
        statistics.median(s for s, _ in found),
        2,
        False,
    )
    yield (
        "10 million samples, opened as a data set: MB of memory",
        statistics.median(m for _, m in found),
        500,
        False,
    )


def bench_vit(folder: Path, samples: int, rounds: int) -> Iterator[Line]:
    """A step of the ViT of vit_rgd.yaml, from shards and from memory."""
    loaded = load("vit_rgd.yaml", [])
    splits = read_splits(loaded.config.data, loaded.config.seed)
    write_shards(splits, folder / "s", group_columns=["label"], made_from=fingerprint(splits))
    source = [
        f"data.source={{name: webdataset, path: {folder / 's'}}}",
        "data.splits={validation: 0, test: 0}",
    ]
    takers = {
        name: stepper(framework_run(words, folder / name))
        for name, words in {"memory": [], "shards": source}.items()
    }
    seconds = interleaved(takers, 4 * rounds, steps=10)
    yield "step of vit_rgd.yaml: shards / memory", ratio(seconds, "shards", "memory"), 1.02, False


BENCHES: dict[str, Callable[[Path, int, int], Iterator[Line]]] = {
    "raw": bench_raw,
    "remote": bench_remote,
    "png": bench_png,
    "index": bench_index,
    "manifest": bench_manifest,
    "vit": bench_vit,
}

if __name__ == "__main__":
    sys.exit(main())
