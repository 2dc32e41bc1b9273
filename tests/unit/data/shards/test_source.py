from __future__ import annotations

import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

from framework.__main__ import main
from framework.config.schema import SamplingConfig
from framework.data.build import build_data
from framework.data.dataset import Dataset
from framework.data.faults import BadSampleError
from framework.data.order import make_order
from framework.data.shards.foreign import index_shards
from framework.data.shards.patterns import expand
from framework.errors import ConfigError, DataError
from tests.data_samples import data_config
from tests.unit.data.shards.samples import identities, pictures, read, write


class Danger:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import os; os.environ['UNPICKLED'] = 'yes'",)


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def png(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def foreign(folder: Path, samples: list[dict[str, Any]], **options: Any) -> Dataset:
    """What webdataset's own writer makes of `samples`, read here."""
    with wds.ShardWriter(f"{folder}/part-%03d.tar", maxcount=3, verbose=0, **options) as sink:
        for sample in samples:
            sink.write(sample)
    paths = sorted(map(str, folder.glob("part-*.tar")))
    index_shards({"train": paths}, folder, columns=["domain"] if "json" in samples[0] else [])
    return read(folder, check=True)["train"]


def tensor(dataset: Dataset, positions: list[int]) -> torch.Tensor:
    inputs, _ = dataset.fetch(np.array(positions), None)
    assert isinstance(inputs, torch.Tensor)
    return inputs


@pytest.mark.parametrize("images", ["raw", "png"])
def test_webdataset_reads_our_shards(tmp_path: Path, images: str) -> None:
    manifest = write(tmp_path, images=images)
    urls = [str(tmp_path / shard.file) for shard in manifest.splits["train"].shards]
    found = list(wds.WebDataset(urls, shardshuffle=False))
    ours = pictures()
    assert [sample["__key__"] for sample in found] == [f"train-{k:09d}" for k in range(len(ours))]
    for number, sample in enumerate(found):
        if images == "raw":
            pixels = np.load(io.BytesIO(sample["npy"]))
        else:
            pixels = np.asarray(Image.open(io.BytesIO(sample["png"]))).transpose(2, 0, 1)
        assert torch.equal(torch.from_numpy(pixels.copy()).float() / 255, tensor(ours, [number])[0])
        assert json.loads(sample["json"])["label"] == "abc"[number % 3]


@pytest.mark.parametrize("mtime", [None, 0])
def test_we_read_shards_of_webdataset(tmp_path: Path, mtime: float | None) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    samples: list[dict[str, Any]] = [
        {"__key__": f"dir.{k % 2}/{'long' * 40}{k}", "png": png(pixels[k]), "cls": 10 - k % 2,
         "json": {"domain": None if k == 5 else f"d{k % 3}"}, "note.txt": "x"}
        for k in range(8)
    ]  # fmt: skip
    dataset = foreign(tmp_path, samples, mtime=mtime)
    assert torch.equal(
        tensor(dataset, [7, 0, 3]), torch.from_numpy(pixels[[7, 0, 3]]).permute(0, 3, 1, 2).float() / 255
    )
    assert dataset.spec.class_names == ("9", "10")
    assert dataset.fetch(np.arange(8), None)[1].tolist() == [1, 0] * 4
    assert dataset.columns["domain"].names == ("d0", "d1", "d2")
    assert dataset.columns["domain"].values.tolist() == [0, 1, 2, 0, 1, -1, 0, 1]


MEMBERS: dict[str, tuple[Any, list[float]]] = {
    "npy": (npy(np.array([1.5, -2.0])), [1.5, -2.0]),
    "ids.npy": (npy(np.array([3, 4], np.int16)), [3, 4]),
    "txt": ("hé", [104, 0xC3, 0xA9]),
    "x.json": (json.dumps([1, 2.5]).encode(), [1, 2.5]),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_other_inputs(tmp_path: Path, member: str) -> None:
    content, expected = MEMBERS[member]
    samples = [{"__key__": str(k), member: content, "cls": k % 2} for k in range(4)]
    if member.endswith(".json"):
        with wds.ShardWriter(f"{tmp_path}/part-%03d.tar", verbose=0, encoder=False) as sink:
            for sample in samples:
                sink.write({**sample, "cls": str(sample["cls"]).encode()})
        index_shards({"train": [f"{tmp_path}/part-000.tar"]}, tmp_path, member=member)
        dataset = read(tmp_path)["train"]
    else:
        dataset = foreign(tmp_path, samples)
    assert tensor(dataset, [2, 1]).tolist() == [expected, expected]


def test_pictures_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    samples = [
        {"__key__": str(k), "jpg": png(np.full((5 + k, 6, 3), 100, np.uint8), "JPEG"), "cls": 0}
        for k in range(3)
    ]
    dataset = foreign(tmp_path, samples)
    with pytest.raises(BadSampleError, match=r"part-000.tar, sample 1 .*shape \(3, 6, 6\).*\(3, 5, 6\)"):
        tensor(dataset, [0, 1])
    resized = read(tmp_path, size=4)["train"]
    assert resized.spec.input_shape == (3, 4, 4)
    assert torch.equal(tensor(resized, [0, 2]), torch.full((2, 3, 4, 4), 100 / 255))


def test_of_sixteen_bits_the_upper_eight_count(tmp_path: Path) -> None:
    pixels = np.array([[0, 255], [256, 65535]], np.uint16)
    dataset = foreign(tmp_path, [{"__key__": "a", "png": png(pixels), "cls": 0}])
    assert tensor(dataset, [0]).mul(255).tolist() == [[[[0, 0], [1, 255]]]]


@pytest.mark.parametrize("member", ["pyd", "pkl", "pickle", "pth"])
def test_pickles_are_refused_unread(tmp_path: Path, member: str) -> None:
    samples = [{"__key__": "a", member: pickle.dumps(Danger()), "cls": 1}]
    with pytest.raises(DataError, match=rf"\.{member} members are pickles.*never read"):
        foreign(tmp_path, samples)
    with pytest.raises(DataError, match="pickles"):
        index_shards({"train": [str(tmp_path / "part-000.tar")]}, tmp_path, member=member)
    assert "UNPICKLED" not in os.environ


def test_words_that_python_takes_for_numbers_are_names_of_classes(tmp_path: Path) -> None:
    names = ["nan", "infinity", "1_000", "²", "-7", "1.5"]
    dataset = foreign(
        tmp_path, [{"__key__": f"k{k}", "npy": npy(np.zeros(2)), "cls": n} for k, n in enumerate(names)]
    )
    labels = dataset.columns["label"]
    assert [labels.names[v] for v in labels.values] == names
    assert labels.names[:2] == ("-7", "1.5")


def test_arrays_of_objects_are_refused_unread(tmp_path: Path) -> None:
    content = npy(np.array([Danger()], object), allow_pickle=True)
    with pytest.raises(
        DataError, match=r"part-000.tar, sample a: \.npy holds Python objects, which are pickles"
    ):
        foreign(tmp_path, [{"__key__": "a", "npy": content, "cls": 1}])
    dataset = foreign(tmp_path, [{"__key__": k, "npy": npy(np.zeros(2)), "cls": 1} for k in "ab"])
    path = tmp_path / "part-000.tar"
    good, fits = npy(np.zeros(2)), content[: len(npy(np.zeros(2)))]
    path.write_bytes(path.read_bytes().replace(good, fits, 1))
    with pytest.raises(BadSampleError, match="Python objects"):
        tensor(read(tmp_path)["train"], [0, 1])
    assert "UNPICKLED" not in os.environ
    assert len(dataset) == 2


def test_a_changed_byte_is_noticed_when_asked_for(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    path = tmp_path / manifest.splits["train"].shards[1].file
    content = bytearray(path.read_bytes())
    content[512 + 130] ^= 1
    path.write_bytes(content)
    message = r"shard train-000001.tar, sample train-000000008 \(number 8 of its split\): its bytes are not"
    with pytest.raises(BadSampleError, match=message):
        tensor(read(tmp_path, check=True)["train"], [3, 8])
    with pytest.raises(BadSampleError) as raised:
        tensor(read(tmp_path, check=True)["train"], [8])
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (copy.name, copy.reason) == (raised.value.name, raised.value.reason)
    assert copy.positions.tolist() == [8]
    content[512] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadSampleError, match=r"sample train-000000008.*npy"):
        tensor(read(tmp_path)["train"], [3, 8])


def test_a_broken_picture_names_shard_and_sample(tmp_path: Path) -> None:
    manifest = write(tmp_path, images="png")
    path = tmp_path / manifest.splits["train"].shards[0].file
    content = bytearray(path.read_bytes())
    content[512:640] = bytes(128)
    path.write_bytes(content)
    with pytest.raises(BadSampleError, match=r"train-000000.tar, sample train-000000000 .*cannot be decoded"):
        tensor(read(tmp_path)["train"], [0])


def test_cut_and_missing_shards_end_the_start_with_all_names(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    first, second, third, *_ = (tmp_path / shard.file for shard in manifest.splits["train"].shards)
    # after the fourth of eight samples: a tar reader sees no fault here
    first.write_bytes(first.read_bytes()[: 4 * (512 + 512 + 512 + 512)])
    second.unlink()
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    text = str(raised.value)
    assert "2 bad shards" in text
    assert "train-000000.tar: cut off: 8,192 bytes" in text
    assert "(8 samples)" in text
    assert "train-000001.tar: No such file" in text
    assert identities(tensor(read(tmp_path, train="train-{000002..000004}.tar")["train"], [0, 23])) == [
        16,
        39,
    ]
    third.unlink()


def test_shards_of_training_can_be_shared_out(tmp_path: Path) -> None:
    write(tmp_path, {"train": pictures()})
    splits = read(tmp_path, train=["train-{000000..000002}.tar"], validation="train-00000{3,4}.tar")
    assert [len(splits[name]) for name in ("train", "validation")] == [24, 16]
    assert identities(tensor(splits["validation"], [0, 15])) == [24, 39]
    with pytest.raises(ConfigError, match=r"train-000003.tar is in both 'train' and 'validation'"):
        read(tmp_path, validation="train-00000{3,4}.tar")
    with pytest.raises(ConfigError, match=r"no shard train-000009\.tar"):
        read(tmp_path, train="train-000009.tar")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "No such file.*shards index PATTERN"),
        ("{", "is not a manifest of shards"),
        ('{"version": 2}', "has version 2, newer than this framework"),
        ('{"version": 1, "inputs": {}}', "input_shape: Field required"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str | None, fault: str) -> None:
    write(tmp_path)
    path = tmp_path / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=fault):
        read(tmp_path)


def test_braces() -> None:
    assert expand("a-{08..10}-{x,y}.tar") == [
        "a-08-x.tar", "a-08-y.tar", "a-09-x.tar", "a-09-y.tar", "a-10-x.tar", "a-10-y.tar",
    ]  # fmt: skip
    assert expand("{3..1}") == ["3", "2", "1"]
    for wrong in ("a{1..3", "a}", "{1}", "{1..99999999999}"):
        with pytest.raises(ValueError, match=r"brace|stands for"):
            expand(wrong)


def test_transforms_and_splits_work_as_in_memory(tmp_path: Path) -> None:
    write(tmp_path, {"train": pictures(120)})
    config: dict[str, Any] = {
        "source": {"name": "webdataset", "path": f"file:{tmp_path}"},
        "splits": {"validation": 0.2, "test": 0, "seed": 3},
        "transforms": [
            {"name": "long_tail", "factor": 4},
            {"name": "label_noise", "rate": 0.1},
            {"name": "standardize"},
            {"name": "random_crop", "padding": 1},
            {"name": "spurious", "rate": 0.9, "values": ["one", "two"], "column": "tint"},
        ],
        "groups": ["label", "tint"],
        "sampling": {"name": "blocks", "shards": 3},
    }
    data = build_data(data_config(**config), seed=1)
    positions = data.order.epoch(0)
    assert sorted(positions.tolist()) == list(range(len(data.splits["train"])))
    inputs, _ = data.splits["train"].fetch(positions, 2)
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape[1:] == data.spec.input_shape
    copy = pickle.loads(pickle.dumps(data.splits["train"]))
    assert torch.equal(copy.fetch(positions, 2)[0], inputs)


def test_blocks_need_shards() -> None:
    with pytest.raises(ConfigError, match="needs data in shards"):
        make_order(SamplingConfig(name="blocks"), np.zeros(4, np.int64), 0, pictures().runs())


def test_training_from_shards_gives_the_numbers_of_training_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shorter = [
        "conf=digits_spurious",
        "policy=group_dro",
        "reporting=quiet",
        "train.epochs=null",
        "train.steps=12",
    ]
    assert main(["shards", *shorter, "--out", "made", "--max-size", "300kB"]) == 0
    assert main([*shorter, "run.dir=memory"]) == 0
    source = ["data.source={name: webdataset, path: made}", "data.splits={validation: 0, test: 0}"]
    assert main([*shorter, *source, "data.workers=1", "run.dir=shards"]) == 0
    records = []
    for run in ("memory", "shards"):
        lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
        kept = [
            {key: value for key, value in line.items() if not key.endswith("seconds")}
            for line in lines
            if line["event"] in ("train", "evaluation", "policy")
        ]
        records.append(kept)
    assert records[0]
    assert records[0] == records[1]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["verify"], "usage: .*shards verify DIR"),
        (["verify", "nowhere"], "nowhere does not exist"),
        (["verify", ".", "--out", "x"], "--out is not an option of `shards verify`"),
        (["conf=digits_spurious"], "--out DIR is missing"),
        (
            ["conf=digits_spurious", "--out", "x", "--images", "gif"],
            "--images must be one of raw, png, float",
        ),
        (["conf=digits_spurious", "--out", "x", "--split", "tran"], "no split 'tran'; did you mean train"),
        (["conf=digits_spurious", "--out", "x", "--max-size", "big"], "must be like 256MB"),
        (["conf=digits_spurious", "--out", "x", "--workers", "-1"], "--workers must be a number"),
        (["index", "a-{1..2.tar", "--out", "x"], "braces do not match"),
        (["index", "none-*.tar", "--out", "x"], "no file matches 'none-"),
        (["index", "tran=a.tar", "--out", "x"], "'tran' is no split; did you mean train"),
        (["index", "a.tar", "--out", "x"], "shard a.tar: .*No such file"),
    ],
)
def test_mistakes_on_the_command_line(
    words: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["shards", *words]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert re.search(fault, shown), shown
