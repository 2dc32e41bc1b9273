"""What cannot be read of any source, and what is known of it afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from framework.config.batch_plan import BatchPlan
from framework.data.build import build_data
from framework.data.faults import BadSampleError, Fault, Positions, Reader
from framework.data.quarantine import Quarantine
from framework.errors import DataError
from framework.parallel.world import World
from tests.data_samples import data_config

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda r: (r[0], r[0] + r[1] + 1)))


@given(RANGES, RANGES)
def test_positions_are_a_set(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    one = {p for start, stop in first for p in range(start, stop)}
    other = {p for start, stop in second for p in range(start, stop)}
    both = Positions(first) | Positions.of(np.array(sorted(other), np.int64))
    assert len(both) == len(one | other)
    assert both.hold(np.arange(60)).tolist() == [p in one | other for p in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (6, 6), (20 * k, 0, 0)).save(tmp_path / split / label / f"{k:02}.png")
    for broken in ("train/a/00.png", "train/b/03.png", "validation/a/01.png"):
        (tmp_path / broken).write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_of_a_folder_and_of_a_mixture(folder: Path, workers: int) -> None:
    images = {"name": "image_folder", "path": str(folder), "size": 6}
    source = {"name": "mixture", "sources": {"one": images, "two": images}}
    for section, bad in ((images, [0, 15]), (source, [0, 15, 24, 39])):
        config = data_config(
            source=section,
            splits={"validation": 0, "test": 0},
            transforms=[{"name": "standardize"}],
            on_error="quarantine",
            max_bad_fraction=0.2,
            workers=workers,
        )
        data = build_data(config, 0)
        assert data.fingerprint() == build_data(config, 0).fingerprint()
        loader = data.train_loader(BatchPlan.solve(4, 2, 1), World())
        seen: list[int] = []
        for _ in range(loader.steps_per_epoch):
            batch = next(loader)
            index = torch.cat([micro.index[micro.valid] for micro in batch.micros]).tolist()
            assert len(index) == batch.num_samples
            seen += index
        loader.close()
        assert sorted(seen) == [p for p in range(len(data.order)) if p not in bad]
        assert data.quarantine is not None
        assert data.quarantine.count("train") == len(bad)
        assert all("cannot be decoded as an image" in fault.reason for _, fault in data.quarantine.news())
        batches = list(data.evaluation_loader("validation", 3, World()))
        assert sum(int(batch.valid.sum()) for batch in batches) == len(data.splits["validation"]) * 7 // 8


def test_without_quarantine_the_first_broken_picture_ends_it(folder: Path) -> None:
    images = {"name": "image_folder", "path": str(folder), "size": 6}
    data = build_data(data_config(source=images, splits={"validation": 0, "test": 0}), 0)
    with pytest.raises(BadSampleError, match=r"train/a/00.png: cannot be decoded"):
        data.splits["train"].fetch(np.arange(4), None)
    with pytest.raises(BadSampleError, match=r"00.png: cannot be decoded"):
        data.fingerprint()


def test_a_fault_is_found_once_and_filler_is_readable(folder: Path) -> None:
    images = {"name": "image_folder", "path": str(folder), "size": 6}
    train = build_data(data_config(source=images, splits={"validation": 0, "test": 0}), 0).splits["train"]
    reader = Reader(train)
    for _ in range(2):
        kept, content, faults = reader.fetch(np.array([15, 1, 0]), None)
        assert kept.tolist() == [1]
        assert content is not None
        assert sorted(len(fault.positions) for fault in faults) == [1, 1]
    assert len(reader.faults) == 2
    assert reader.filler()[0] == 1


def test_a_quarantine_forgets_nothing_and_no_more_than_may_be() -> None:
    quarantine = Quarantine(0.5, {"train": 10})
    quarantine.agree("train", [Fault("a", "gone", Positions([(2, 5)]))])
    quarantine.agree("train", [Fault("a", "gone", Positions([(2, 5)]))])
    assert [fault.name for _, fault in quarantine.news()] == ["a"]
    other = Quarantine(0.5, {"train": 10})
    other.load_state_dict(quarantine.state_dict())
    assert other.holds("train", np.array([1, 2, 4, 5])).tolist() == [False, True, True, False]
    assert other.news() == []
    with pytest.raises(DataError, match=r"6 of 10 samples of split .train. cannot be read.*last is b: cut"):
        other.agree("train", [Fault("b", "cut", Positions([(7, 10)]))])


def test_nothing_left_is_more_than_any_share_allows() -> None:
    quarantine = Quarantine(1.0, {"train": 10, "test": 0})
    quarantine.agree("test", [])
    quarantine.agree("train", [Fault("a", "gone", Positions([(0, 9)]))])
    with pytest.raises(DataError, match=r"10 of 10 .* whatever data.max_bad_fraction=1 allows"):
        quarantine.agree("train", [Fault("b", "cut", Positions([(9, 10)]))])
