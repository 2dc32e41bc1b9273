"""Samples in WebDataset tar files, read in any order through a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from framework.config.schema import OnError
from framework.data.dataset import Splits
from framework.data.files.paths import existing_folder
from framework.data.shards.cache import Cache, byte_count, default_folder
from framework.data.shards.dataset import open_split
from framework.data.shards.download import Source, is_remote
from framework.data.shards.index import of_split, open_index
from framework.data.shards.manifest import Manifest, read_manifest
from framework.data.shards.patterns import expand, local_path
from framework.data.shards.remote import RemoteStore, remote_index, remote_manifest
from framework.data.shards.store import LocalStore
from framework.errors import DataError
from framework.options import Count, Positive
from framework.paths import expanded
from framework.registry import register


@register.dataset("webdataset")
def webdataset(
    on_error: OnError,
    *,
    path: str,
    train: tuple[str, ...] | str | None = None,
    validation: tuple[str, ...] | str | None = None,
    test: tuple[str, ...] | str | None = None,
    size: Count | None = None,
    check: bool = False,
    cache: str | None = None,
    cache_size: str | None = None,
    attempts: Count = 5,
    timeout_seconds: Positive = 30.0,
) -> Splits:
    """Tar shards with a manifest (`shards` writes both, `shards index` a manifest for other shards).

    Args:
        path: the folder of `manifest.json`: a path, or a URL (`http:`, `s3:`, `gs:`, any that fsspec knows).
        train: shards to train on, by name, as `train-{000000..000007}.tar`; null takes those of the manifest.
        validation: shards to validate on, in the same way.
        test: shards to test on, in the same way.
        size: height and width that images are scaled to; null leaves them, and all must have the same.
        check: compare every sample that is read with its checksum, so that a changed byte is an error.
        cache: folder for copies of remote shards, shared by all runs; null is one under ~/.cache.
        cache_size: bytes it may take, as `50GB`; the shards used longest ago go. null is no limit.
        attempts: how often in a row reading from a server may fail.
        timeout_seconds: how long a server may be silent.
    """
    limit = byte_count(cache_size) if cache_size else None
    copies = Cache(expanded(cache) if cache else default_folder(), limit, Source(attempts, timeout_seconds))
    folder, manifest, arrays = _opened(path, copies)
    manifest = _scaled(manifest, size)
    local = not is_remote(path) and not any(
        is_remote(shard.file) for split in manifest.splits.values() for shard in split.shards
    )
    store = LocalStore(Path(folder)) if local else RemoteStore(folder, copies)
    asked = {"train": train, "validation": validation, "test": test}
    used: dict[str, str] = {}
    splits: Splits = {}
    for split, patterns in asked.items():
        # a split that the manifest does not have may be given shards of its training split
        home = split if split in manifest.splits else "train"
        if home not in manifest.splits:
            raise DataError(f"{folder}: no split '{home}' (splits: {', '.join(manifest.splits)})")
        if patterns is None and home != split:
            continue
        names = (
            [shard.file for shard in manifest.splits[home].shards] if patterns is None else _names(patterns)
        )
        for name in names:
            if used.setdefault(name, split) != split:
                raise ValueError(f"{name} is in both '{used[name]}' and '{split}'; name other shards for one")
        splits[split] = open_split(
            manifest, of_split(arrays, home), home, store, names=names if patterns else None, size=size,
            check=check,
        )  # fmt: skip
    shards = [shard for part in manifest.splits.values() for shard in part.shards if shard.file in used]
    if on_error == "stop":
        store.check(shards)
    return splits


def _opened(path: str, cache: Cache) -> tuple[str, Manifest, Mapping[str, np.ndarray]]:
    """The folder or URL, its manifest, and the arrays of its index."""
    if is_remote(path):
        manifest = remote_manifest(path, cache)
        return path, manifest, remote_index(path, manifest, cache)
    folder = existing_folder(local_path(path))
    manifest = read_manifest(folder)
    if manifest.index is None:
        raise DataError(f"{folder}: the manifest names no index; python -m framework shards verify {folder}")
    return str(folder), manifest, open_index(folder / manifest.index.file)[0]


def _names(patterns: tuple[str, ...] | str) -> list[str]:
    listed = [patterns] if isinstance(patterns, str) else patterns
    return [name for pattern in listed for name in expand(pattern)]


def _scaled(manifest: Manifest, size: int | None) -> Manifest:
    """The manifest as if its images had been stored at `size`."""
    if size is None:
        return manifest
    images = {name: field for name, field in manifest.inputs.items() if field.kind == "image"}
    if not images:
        raise ValueError("size: these shards hold no images that are decoded (.png, .jpg)")
    inputs = {
        name: field.model_copy(update={"shape": (field.shape[0], size, size)}) if name in images else field
        for name, field in manifest.inputs.items()
    }
    shape = inputs[""].shape if "" in images else manifest.input_shape
    return manifest.model_copy(update={"inputs": inputs, "input_shape": shape})
