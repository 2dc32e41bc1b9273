"""One verified checkpoint: its step, its meta data, and its parts, read when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework.checkpoint.manifest import Manifest, read_manifest
from framework.checkpoint.tensor_file import open_tensors, tensor_chunks
from framework.checkpoint.tree import FlatState, State, flatten, unflatten
from framework.errors import CheckpointError
from framework.files import FileDigest, to_json, write_file

META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were all compared with their manifest.

    Attributes:
        path: its folder.
        step: number of optimizer steps that it is the result of.
        parts: state trees by name; each is read from the disk when it is looked up, and not kept.
        meta: what the run noted beside the state: configuration, epoch, ...
        refused: newer checkpoints that were not taken, each with its reason.
    """

    path: Path
    step: int
    parts: Mapping[str, State]
    meta: dict[str, Any]
    refused: tuple[str, ...] = ()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Verify the checkpoint in `folder` whole.

    Raises:
        CheckpointError: it is not a checkpoint, not complete, or damaged; the message is the reason alone.
    """
    manifest = read_manifest(folder)
    manifest.verify(folder)
    return Checkpoint(folder, manifest.step, _Parts(folder, manifest), _read(folder, META, manifest))


def write_checkpoint(
    folder: Path, step: int, parts: Mapping[str, FlatState], meta: Mapping[str, Any]
) -> Manifest:
    """Write all files of a checkpoint into an empty folder, the manifest last, and flush them.

    Raises:
        OSError: as the system says.
    """
    files: dict[str, FileDigest] = {}
    for name, state in {**parts, META: flatten(meta, copy=False)}.items():
        if state.tensors:
            file = f"{name}.safetensors"
            files[file] = write_file(folder / file, tensor_chunks(state.tensors))
        file = f"{name}.json"
        files[file] = write_file(folder / file, [to_json(state.skeleton)])
    manifest = Manifest(step, files)
    manifest.write(folder)
    return manifest


class _Parts(Mapping[str, State]):
    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        names = [Path(file).stem for file in manifest.files if file.endswith(".json")]
        self._names = [name for name in names if name != META]

    def __getitem__(self, name: str) -> State:
        if name not in self._names:
            raise KeyError(name)
        return _read(self._folder, name, self._manifest)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read(folder: Path, name: str, manifest: Manifest) -> State:
    try:
        skeleton = json.loads((folder / f"{name}.json").read_bytes())
        file = f"{name}.safetensors"
        if file not in manifest.files:
            return _as_state(unflatten(skeleton, _no_tensor))
        with open_tensors(folder / file) as get:
            return _as_state(unflatten(skeleton, get))
    except OSError as error:
        raise CheckpointError(f"{folder / name} cannot be read: {error.strerror or error}") from error


def _as_state(tree: Any) -> State:
    assert isinstance(tree, dict)
    return tree


def _no_tensor(name: str) -> torch.Tensor:
    raise KeyError(name)
