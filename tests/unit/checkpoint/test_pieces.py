"""What several ranks wrote is one tensor again, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.checkpoint.checkpoint import open_checkpoint, write_share
from framework.checkpoint.manifest import Manifest
from framework.checkpoint.snapshot import snapshot
from framework.errors import CheckpointError
from framework.parallel.world import World
from framework.pieces import Piece, Stored, elements, in_memory, whole

WHOLE = torch.arange(35.0).reshape(5, 7)


def piece(start: int, stop: int, tensor: Tensor = WHOLE) -> Piece:
    return Piece(tensor.reshape(-1)[start:stop], start, tensor.shape)


def written(folder: Path, states: list[dict[str, Any]]) -> Path:
    """A checkpoint to which every rank brought its state of the part `engine`."""
    folder.mkdir()
    files = {}
    for rank, state in enumerate(states):
        parts = snapshot({"engine": state}, pieces_only=rank > 0)
        files |= write_share(folder, parts, {}, World(rank, len(states)))
    Manifest(3, files).write(folder)
    return folder


def cut(folder: Path, *ranges: tuple[int, int]) -> Path:
    return written(folder, [{"w": piece(*own), "step": 4, "copy": WHOLE[0]} for own in ranges])


@pytest.mark.parametrize(
    "ranges", [[(0, 35)], [(0, 14), (14, 35)], [(20, 35), (0, 20)], [(0, 0), (0, 35), (35, 35)]]
)
def test_pieces_become_the_whole(ranges: list[tuple[int, int]], tmp_path: Path) -> None:
    checkpoint = open_checkpoint(cut(tmp_path / "x", *ranges))
    state = checkpoint.parts["engine"]
    assert state["step"] == 4
    assert torch.equal(state["w"], WHOLE)
    assert torch.equal(state["copy"], WHOLE[0])
    stored = checkpoint.parts.stored("engine")["w"]
    assert isinstance(stored, Stored)
    assert (stored.shape, stored.dtype) == (WHOLE.shape, WHOLE.dtype)
    for start, length in [(0, 35), (13, 2), (14, 0), (34, 1), (3, 28)]:
        assert torch.equal(elements(stored, start, length), elements(WHOLE, start, length))
    assert torch.equal(whole(stored), WHOLE)
    assert torch.equal(in_memory({"a": [stored]})["a"][0], WHOLE)


def test_what_is_whole_is_written_once_and_pieces_by_their_ranks(tmp_path: Path) -> None:
    folder = cut(tmp_path / "x", (0, 14), (14, 35))
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}
    assert set(sizes) == {"engine-00000-of-00002.safetensors", "engine-00001-of-00002.safetensors"}
    manifest = (folder / "manifest.json").read_text()
    assert all(name in manifest for name in sizes)


def test_tied_pieces_are_one_tensor_also_where_a_rank_has_nothing_of_them(tmp_path: Path) -> None:
    states = []
    for own in ((0, 0), (0, 35)):
        tied = piece(*own)
        states.append({"a": tied, "b": tied, "none": piece(0, 0, torch.empty(0, 3))})
    state = open_checkpoint(written(tmp_path / "x", states)).parts["engine"]
    assert state["a"] is state["b"]
    assert torch.equal(state["a"], WHOLE)
    assert state["none"].shape == (0, 3)


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ([(0, 14), (15, 35)], "elements 14 to 14 of w are missing"),
        ([(3, 14), (14, 35)], "elements 0 to 2 of w are missing"),
        ([(0, 14), (14, 30)], "elements 30 to 34 of w are missing"),
        ([(0, 0), (0, 0)], "engine: w is in no file"),
        (
            [(0, 14), (10, 35)],
            "elements 10 to 13 of w are twice there: in engine-00000-of-00002.safetensors and in",
        ),
        ([(0, 35), (7, 9)], "elements 7 to 8 of w are twice there"),
    ],
)
def test_pieces_that_are_not_the_whole_are_refused(
    ranges: list[tuple[int, int]], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(cut(tmp_path / "x", *ranges))


@pytest.mark.parametrize("other", [WHOLE.double(), WHOLE.reshape(7, 5), torch.zeros(5, 8)])
def test_pieces_of_another_tensor_are_refused(other: Tensor, tmp_path: Path) -> None:
    states = [{"w": piece(0, 14)}, {"w": piece(14, 35, other)}]
    with pytest.raises(CheckpointError, match=r"w is F(32|64) of shape .* in engine-00001-of-00002"):
        open_checkpoint(written(tmp_path / "x", states))


def test_a_file_of_a_rank_that_is_gone_is_refused(tmp_path: Path) -> None:
    folder = cut(tmp_path / "x", (0, 14), (14, 35))
    (folder / "engine-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"engine-00001-of-00002\.safetensors is missing"):
        open_checkpoint(folder)
