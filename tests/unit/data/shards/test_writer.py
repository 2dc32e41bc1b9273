from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data.batch import DataSpec
from framework.data.dataset import Dataset
from framework.data.in_memory import ArrayDataset
from framework.data.shards.index import open_index
from framework.data.shards.manifest import read_manifest
from framework.data.shards.verify import verify_shards
from framework.errors import DataError, UserError
from tests.unit.data.shards.samples import pictures, read, write


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(first: Dataset, second: Dataset) -> None:
    """Every sample and every fact about it is the same, bit by bit."""
    positions = np.random.default_rng(1).permutation(len(first))
    inputs, targets = first.fetch(positions, None)
    others, other_targets = second.fetch(positions, None)
    assert first.spec == second.spec
    assert isinstance(inputs, torch.Tensor)
    assert isinstance(others, torch.Tensor)
    assert inputs.dtype == others.dtype
    assert torch.equal(inputs, others)
    assert targets.dtype == other_targets.dtype
    assert torch.equal(targets, other_targets)
    for name, column in first.columns.items():
        assert second.columns[name].names == column.names
        assert np.array_equal(second.columns[name].values, column.values)
    for name, values in first.extra.items():
        assert np.array_equal(second.extra[name], values)


@pytest.mark.parametrize("images", ["raw", "png", "float"])
def test_samples_come_back_bit_by_bit(tmp_path: Path, images: str) -> None:
    write(tmp_path, images=images)
    splits = read(tmp_path, check=True)
    same(pictures(), splits["train"])
    same(pictures(9, 1), splits["test"])
    chosen = np.array([7, 3, 30, 12])
    same(pictures().select(chosen), splits["train"].select(chosen))


@pytest.mark.parametrize("width", [None, 2])
def test_real_numbers_and_regression(tmp_path: Path, width: int | None) -> None:
    random = torch.Generator().manual_seed(0)
    targets = torch.randn(20, *([width] if width else []), generator=random)
    spec = DataSpec((6,), None, num_targets=width or 1)
    dataset = ArrayDataset(torch.randn(20, 6, generator=random), targets, spec)
    write(tmp_path, {"train": dataset}, group_columns=[])
    same(dataset, read(tmp_path)["train"])


def test_tokens_in_and_out(tmp_path: Path) -> None:
    tokens = torch.arange(60).view(10, 6)
    spec = DataSpec((6,), None, num_tokens=60, next_tokens=True)
    dataset = ArrayDataset(tokens, tokens + 1, spec)
    write(tmp_path, {"train": dataset}, group_columns=[])
    same(dataset, read(tmp_path)["train"])


def test_several_inputs(tmp_path: Path) -> None:
    inputs = {"ids": torch.arange(20).view(10, 2), "mask": torch.ones(10, 3)}
    dataset = ArrayDataset(inputs, torch.zeros(10, dtype=torch.int64), DataSpec((2,), 1, ("x",)))
    write(tmp_path, {"train": dataset})
    found, _ = read(tmp_path)["train"].fetch(np.array([4, 2]), None)
    assert isinstance(found, dict)
    assert torch.equal(found["ids"], inputs["ids"][[4, 2]])
    assert torch.equal(found["mask"], inputs["mask"][[4, 2]])


def test_the_same_bytes_with_workers_and_after_a_kill(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(_: int) -> None:
        done.append(1)
        if len(done) == 3:
            raise KilledError

    done: list[int] = []
    write(tmp_path / "one")
    whole = content(tmp_path / "one")
    write(tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == whole
    with pytest.raises(KilledError):
        write(tmp_path / "three", progress=kill)
    shards = sorted((tmp_path / "three").glob("*.tar"))
    assert len(shards) == 3
    kept = shards[0].stat().st_ino
    shards[1].write_bytes(b"damaged")
    shutil.copy(shards[0], shards[0].with_name("train-000004.tar.tmp-1"))
    write(tmp_path / "three")
    assert content(tmp_path / "three") == whole
    assert shards[0].stat().st_ino == kept, "a finished shard was written again"


def test_sizes_counts_and_names(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    shards = manifest.splits["train"].shards
    assert [shard.samples for shard in shards] == [8, 8, 8, 8, 8]
    assert all(shard.bytes <= 37_000 for shard in shards)
    assert np.sum([shard.groups for shard in shards], axis=0).tolist() == [14, 13, 13]
    assert manifest.groups.counts == {"train": (14, 13, 13), "test": (3, 3, 3)}
    with tarfile.open(tmp_path / shards[1].file) as archive:
        names = archive.getnames()
        assert names[:2] == ["train-000000008.npy", "train-000000008.json"]
        assert {member.mtime for member in archive.getmembers()} == {0}
        found = archive.extractfile(names[1])
        assert found is not None
        weight = float(pictures().extra["sample_weight"][8])
        assert json.load(found) == {"colour": "red", "label": "c", "sample_weight": weight}


def test_another_set_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match="other data or options"):
        write(tmp_path, max_size=90_000)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="another origin"):
        write(tmp_path)


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs up to .* raise --max-size"):
        write(tmp_path, max_size=100)
    odd = pictures()
    odd.inputs = odd.inputs + 0.001  # type: ignore[operator]
    with pytest.raises(DataError, match="no multiples of 1/255"):
        write(tmp_path, {"train": odd}, images="png")
    with pytest.raises(DataError, match="cannot be stored like 'train'"):
        write(tmp_path, {"train": pictures(), "test": odd})


def test_a_lost_index_or_manifest_is_made_again(tmp_path: Path) -> None:
    write(tmp_path)
    whole = content(tmp_path)
    for name in ("manifest.json", "index.safetensors"):
        (tmp_path / name).unlink()
        verdict = verify_shards(tmp_path)
        assert not verdict.faults
        assert [text.partition(":")[0] for text in verdict.repaired] == [name]
        assert content(tmp_path) == whole
    assert verify_shards(tmp_path).repaired == []


def test_an_index_that_lies_is_made_again(tmp_path: Path) -> None:
    write(tmp_path)
    whole = content(tmp_path)
    path = tmp_path / "index.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert verify_shards(tmp_path).repaired
    assert content(tmp_path) == whole


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    first, second, third, fourth, _ = (tmp_path / shard.file for shard in manifest.splits["train"].shards)
    damaged = bytearray(first.read_bytes())
    start = open_index(tmp_path / "index.safetensors")[0]["train/offset.npy"][5]
    damaged[start + 150] ^= 1
    first.write_bytes(damaged)
    second.unlink()
    third.write_bytes(third.read_bytes()[:-10240])
    fourth.write_bytes(bytes(fourth.stat().st_size))
    faults = verify_shards(tmp_path).faults
    assert len(faults) == 4
    assert "damaged samples: 1 (train-000000005)" in faults[0]
    assert "No such file" in faults[1]
    assert "cut off" in faults[2]
    assert "changed" in faults[3]
    write(tmp_path)
    assert not verify_shards(tmp_path).faults
    assert read_manifest(tmp_path) == manifest
