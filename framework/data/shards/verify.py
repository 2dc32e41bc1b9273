"""Whether a folder of shards is whole, and repair of what can be made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from framework.data.shards.content import ShardContent, joined, read_content
from framework.data.shards.index import FILE as INDEX
from framework.data.shards.index import compact, of_split, open_index, write_index
from framework.data.shards.manifest import FILE as MANIFEST
from framework.data.shards.manifest import IndexFile, Manifest, Shard, Split, parse_manifest, read_manifest
from framework.data.shards.metadata import name_of, read_facts
from framework.data.shards.pool import in_processes
from framework.data.shards.store import LocalStore
from framework.errors import DataError, UserError
from framework.files import digest_file, writing

_MANIFEST_LOST = f"{MANIFEST}: made again from the index"
Arrays = dict[str, np.ndarray]


@dataclass
class Verdict:
    """What was found.

    Attributes:
        manifest: of the folder.
        faults: what is wrong and stays so, one line each.
        repaired: what was made again, one line each.
    """

    manifest: Manifest
    faults: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)


class _Checking:
    """Reads one shard and says what is wrong with it; picklable."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.store = LocalStore(folder)
        self.members = [f.member for f in manifest.fields]

    def __call__(self, shard: Shard) -> ShardContent:
        return read_content(self.store.local(shard), self.members)


def verify_shards(
    folder: Path, workers: int = 0, progress: Callable[[int], None] = lambda samples: None
) -> Verdict:
    """Compare every shard with manifest and index, byte by byte; make a lost index or manifest again.

    A manifest is made again from the index, and the index from the manifest and whole shards.

    Raises:
        DataError: neither manifest nor index can be read.
        UserError: the folder cannot be written.
    """
    manifest, arrays, reason = _open(folder)
    verdict = Verdict(manifest)
    if reason == _MANIFEST_LOST:
        with writing(folder):
            manifest.write(folder)
        verdict.repaired.append(reason)
        reason = ""
    checking = _Checking(folder, manifest)
    contents: dict[str, list[ShardContent]] = {}
    for name, split in manifest.splits.items():
        contents[name] = []
        own = of_split(arrays, name)
        start = 0
        for shard, content in zip(split.shards, in_processes(checking, split.shards, workers), strict=True):
            part = {key: array[start : start + shard.samples] for key, array in own.items()}
            fault = str(content) if isinstance(content, UserError) else _fault(shard, content, part)
            if fault:
                verdict.faults.append(fault)
            elif not isinstance(content, UserError):
                contents[name].append(content)
                reason = reason or _difference(shard, content, part)
            start += shard.samples
            progress(shard.samples)
    if reason and verdict.faults:
        if not arrays:
            verdict.faults.append(f"{reason}: it can be made again when every shard is whole")
    elif reason:
        with writing(folder):
            verdict.manifest = write_index(folder, _rebuilt(folder, manifest, contents, arrays), manifest)
        verdict.repaired.append(reason)
    return verdict


def _open(folder: Path) -> tuple[Manifest, Arrays, str]:
    """Manifest, arrays (none if they cannot be used), and what must be made again ('' for nothing)."""
    path = folder / INDEX
    try:
        arrays, text = open_index(path)
    except DataError:
        return read_manifest(folder), {}, f"{INDEX}: missing or broken, made again from the shards"
    digest = digest_file(path)
    found = IndexFile(file=INDEX, bytes=digest.size, sha256=digest.sha256)
    try:
        manifest = read_manifest(folder)
    except DataError:
        if not text:
            raise
        lost = parse_manifest(text, f"{path} (metadata)")
        return lost.model_copy(update={"index": found}), arrays, _MANIFEST_LOST
    if manifest.index != found:
        return manifest, {}, f"{INDEX}: not the file that the manifest names"
    return manifest, arrays, ""


def _fault(shard: Shard, content: ShardContent, arrays: Arrays) -> str:
    """What is wrong with a shard that could be read, or ''."""
    if content.sha256 == shard.sha256:
        same = len(content) == shard.samples
        return (
            "" if same else f"shard {shard.file}: {len(content)} samples, the manifest says {shard.samples}"
        )
    text = f"shard {shard.file}: changed: SHA-256 {content.sha256[:12]}…, not {shard.sha256[:12]}…"
    sums = [key for key in content.arrays if key.startswith("crc32.") and key in arrays]
    if len(content) == shard.samples and sums:
        wrong = np.flatnonzero(np.any([content.arrays[key] != arrays[key] for key in sums], axis=0))
        keys = ", ".join(content.keys[int(k)] for k in wrong[:3])
        text += f"; damaged samples: {len(wrong)} ({keys})" if len(wrong) else "; no input is damaged"
    return text


def _difference(shard: Shard, content: ShardContent, arrays: Arrays) -> str:
    """In what the index differs from a whole shard, or ''."""
    wrong = [key for key, array in content.arrays.items() if not np.array_equal(array, arrays.get(key, ()))]
    return f"{INDEX}: {', '.join(wrong)} of {shard.file} did not fit the shard" if wrong else ""


def _rebuilt(
    folder: Path, manifest: Manifest, contents: dict[str, list[ShardContent]], arrays: Arrays
) -> Arrays:
    """The arrays of the index from the shards; what is in `arrays` alone is kept."""
    made: Arrays = dict(arrays)
    for name, split in manifest.splits.items():
        made |= {f"{name}/{key}": array for key, array in joined(contents[name]).items()}
        if not arrays:
            made |= _facts(folder, manifest, name, split)
    return made


def _facts(folder: Path, manifest: Manifest, name: str, split: Split) -> Arrays:
    """Columns and numbers of a split from its .json, .cls and .txt members."""
    store = LocalStore(folder)
    number = ["target"] if manifest.classes is None and manifest.target is None else []
    wanted = [*manifest.columns, *manifest.extra, *number]
    origins = [manifest.origins.get(key, key) for key in wanted]
    facts = [read_facts(store.local(shard), origins) for shard in split.shards]
    made: Arrays = {}
    for place, key in enumerate(wanted):
        parts = []
        for shard in facts:
            values, ids = shard[place].values, shard[place].ids
            if key in manifest.columns:
                names = {text: number for number, text in enumerate(manifest.columns[key])}
                numbers = [-1 if v is None else names.get(name_of(v), -1) for v in values]
                parts.append(np.array(numbers, np.int64)[ids])
            elif any(not isinstance(v, int | float) for v in values):
                raise DataError(f"{INDEX}: '{key}' is not in the .json members; write the shards again")
            else:
                parts.append(np.array(values, np.float32)[ids])
        joined_parts = np.concatenate(parts)
        if key in manifest.columns:
            made[f"{name}/column.{key}"] = compact(joined_parts, len(manifest.columns[key]))
        else:
            made[f"{name}/{'' if key in number else 'extra.'}{key}"] = joined_parts
    return made
