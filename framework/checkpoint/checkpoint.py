"""One verified checkpoint: its step, its meta data, and its parts, read when they are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.checkpoint.manifest import Manifest, read_manifest
from framework.checkpoint.stored_tensors import StoredTensors, metadata_of
from framework.checkpoint.tensor_file import tensor_chunks
from framework.checkpoint.tree import FlatState, State, flatten, references, unflatten
from framework.errors import CheckpointError
from framework.files import FileDigest, to_json, write_file
from framework.parallel.world import World
from framework.pieces import Stored, whole

META = "meta"
_TENSORS = re.compile(r"([a-z][a-z0-9_]*)(?:-\d+-of-\d+)?\.safetensors")


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
    parts: Parts
    meta: dict[str, Any]
    refused: tuple[str, ...] = ()


class Parts(Mapping[str, State]):
    """State trees by name."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        names = [Path(file).stem for file in manifest.files if file.endswith(".json")]
        self._files: dict[str, list[Path]] = {name: [] for name in names}
        for file in manifest.files:
            match = _TENSORS.fullmatch(file)
            if match is not None and match[1] in self._files:
                self._files[match[1]].append(folder / file)

    def __getitem__(self, name: str) -> State:
        """The tree with its tensors in memory."""
        if name == META:
            raise KeyError(name)
        tensors = StoredTensors(self._files[name])
        read: dict[str, Any] = {}

        def get(tensor: str) -> Any:
            if tensor not in read:
                read[tensor] = whole(tensors[tensor])
            return read[tensor]

        return self._tree(name, get)

    def stored(self, name: str) -> State:
        """The tree with its tensors on the disk: each is `Stored`."""
        return self._tree(name, StoredTensors(self._files[name]).__getitem__)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._files if name != META)

    def __len__(self) -> int:
        return len(self._files) - 1

    def check(self) -> None:
        """See that every tensor of every part is whole.

        Raises:
            CheckpointError: which one is not.
        """
        for name, files in self._files.items():
            try:
                missing = sorted(references(self._skeleton(name)) - set(StoredTensors(files)))
            except CheckpointError as error:
                raise CheckpointError(f"{name}: {error}") from error
            if missing:
                raise CheckpointError(f"{name}: {missing[0]} is in no file")

    def meta(self) -> State:
        """What was noted beside the parts."""
        return self._tree(META, StoredTensors([]).__getitem__)

    def _tree(self, name: str, get: Callable[[str], Stored]) -> State:
        tree = unflatten(self._skeleton(name), get)
        assert isinstance(tree, dict)
        return tree

    def _skeleton(self, name: str) -> Any:
        try:
            return json.loads((self._folder / f"{name}.json").read_bytes())
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"{self._folder / name} cannot be read: {reason}") from error


def open_checkpoint(folder: Path, *, verify: bool = True) -> Checkpoint:
    """The checkpoint in `folder`, verified whole.

    Args:
        verify: whether to compare the content of its files; another process has just done so if not.

    Raises:
        CheckpointError: it is not a checkpoint, not complete, or damaged; the message is the reason alone.
    """
    manifest = read_manifest(folder)
    parts = Parts(folder, manifest)
    if verify:
        manifest.verify(folder)
        parts.check()
    return Checkpoint(folder, manifest.step, parts, parts.meta())


def write_share(
    folder: Path, parts: Mapping[str, FlatState], meta: Mapping[str, Any], world: World
) -> dict[str, FileDigest]:
    """Write and flush this rank's files of a checkpoint: its tensors, and on rank 0 everything else.

    Raises:
        OSError: as the system says.
    """
    files: dict[str, FileDigest] = {}
    suffix = "" if world.size == 1 else f"-{world.rank:05d}-of-{world.size:05d}"
    everything = {**parts, META: flatten(meta, copy=False)} if world.is_main else parts
    for name, state in everything.items():
        if state.tensors:
            file = f"{name}{suffix}.safetensors"
            chunks = tensor_chunks(state.tensors, metadata_of(state.ranges))
            files[file] = write_file(folder / file, chunks)
        if world.is_main:
            file = f"{name}.json"
            files[file] = write_file(folder / file, [to_json(state.skeleton)])
    return files
