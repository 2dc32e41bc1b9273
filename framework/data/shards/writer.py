"""Writes the splits of any dataset as shards with a manifest: parallel, restartable, reproducible."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from framework.data.dataset import Splits, joint_names
from framework.data.groups import GroupTable, column_groups
from framework.data.shards import tar
from framework.data.shards.content import ShardContent, joined, read_content
from framework.data.shards.encode import Encoder, Images
from framework.data.shards.index import compact, write_index
from framework.data.shards.manifest import FILE, Groups, Manifest, Shard, Split, read_manifest
from framework.data.shards.pool import in_processes
from framework.errors import DataError, UserError
from framework.files import FileDigest, replace_file, sync_folder, to_json, write_file, writing

#: what is known of a set that is not finished yet; removed with the last shard
_UNFINISHED = "unfinished"
_CHUNK = 256


@dataclass(frozen=True)
class Piece:
    """One shard to write: samples `start` to `stop` of a split."""

    split: str
    file: str
    start: int
    stop: int


def write_shards(
    splits: Splits,
    folder: Path,
    *,
    group_columns: Sequence[str],
    made_from: str,
    max_size: int = 256 * 10**6,
    images: Images = "raw",
    workers: int = 0,
    progress: Callable[[int], None] = lambda samples: None,
) -> Manifest:
    """Write every split as `SPLIT-000000.tar` and so on, then the index and the manifest.

    A shard has its name only when it is whole and on the disk. Run again after a kill, it verifies what is
    there, writes what is missing, and gives the same bytes as a run that was never stopped.

    Args:
        splits: the samples.
        folder: made if it does not exist.
        group_columns: columns whose combinations are counted in the manifest.
        made_from: what tells these samples from others, e.g. their fingerprint.
        max_size: bytes that no shard exceeds.
        images: how inputs of three dimensions are stored.
        workers: background processes.
        progress: called with the samples of every finished shard.

    Raises:
        DataError: a sample cannot be read or stored, or one alone exceeds `max_size`.
        UserError: the folder holds other shards, or cannot be written.
    """
    vocabularies = _vocabularies(splits)
    encoders = {name: Encoder(dataset, images) for name, dataset in splits.items()}
    first = encoders[next(iter(splits))]
    odd = [name for name, e in encoders.items() if (e.inputs, e.target) != (first.inputs, first.target)]
    if odd:
        raise DataError(
            f"split '{odd[0]}' cannot be stored like '{next(iter(splits))}' ({encoders[odd[0]].inputs}"
            f" against {first.inputs}); --images float stores any images alike"
        )
    table = column_groups(splits, group_columns, allow_other=True)
    made_from = f"{made_from}, images {images}, at most {max_size} bytes"
    pieces = [
        piece for name in splits for piece in _pieces(name, encoders[name], len(splits[name]), max_size)
    ]
    with writing(folder):
        known = _known(folder, made_from)
        write = _Writing(folder, encoders, known)
        contents: list[ShardContent] = []
        for piece, content in zip(pieces, in_processes(write, pieces, workers), strict=True):
            if isinstance(content, UserError):
                raise content
            contents.append(content)
            progress(piece.stop - piece.start)
    manifest = _manifest(splits, table, pieces, contents, first, made_from)
    arrays: dict[str, np.ndarray] = {}
    for name, dataset in splits.items():
        own = [content for piece, content in zip(pieces, contents, strict=True) if piece.split == name]
        arrays |= {f"{name}/{key}": array for key, array in joined(own).items()}
        for key, names in vocabularies.items():
            arrays[f"{name}/column.{key}"] = compact(dataset.columns[key].ids_in(names), len(names))
        arrays |= {f"{name}/extra.{key}": values for key, values in dataset.extra.items()}
    manifest = write_index(folder, arrays, manifest)
    shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
    return manifest


class _Writing:
    """Writes one piece, or finds it written; picklable."""

    def __init__(self, folder: Path, encoders: dict[str, Encoder], known: dict[str, str]) -> None:
        self.folder = folder
        self.encoders = encoders
        self.known = known

    def __call__(self, piece: Piece) -> ShardContent:
        encoder = self.encoders[piece.split]
        path = self.folder / piece.file
        members = [extension for extension in encoder.extensions if extension != "json"]
        if piece.file in self.known and path.is_file():
            try:
                content = read_content(path, members)
            except DataError:
                content = None
            if content is not None and content.sha256 == self.known[piece.file]:
                return content
        with writing(path):
            # a worker may outlive its killed parent for some seconds, so that the next run writes beside it
            temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            digest = write_file(temporary, self._chunks(piece, encoder))
            temporary.replace(path)
            sync_folder(self.folder)
            self._remember(piece, digest)
        return read_content(path, members)

    def _remember(self, piece: Piece, digest: FileDigest) -> None:
        path = self.folder / _UNFINISHED / f"{piece.file}.json"
        replace_file(path, [to_json({"sha256": digest.sha256})])

    def _chunks(self, piece: Piece, encoder: Encoder) -> Iterator[bytes]:
        size = 0
        for start in range(piece.start, piece.stop, _CHUNK):
            positions = np.arange(start, min(start + _CHUNK, piece.stop))
            written: list[bytes] = []
            for position, contents in zip(positions.tolist(), encoder.encode(positions), strict=True):
                key = f"{piece.split}-{position:09d}"
                for extension, content in zip(encoder.extensions, contents, strict=True):
                    written.append(tar.member(f"{key}.{extension}", content))
            chunk = b"".join(written)
            size += len(chunk)
            yield chunk
        yield tar.ending(size)


def _pieces(split: str, encoder: Encoder, num_samples: int, max_size: int) -> list[Piece]:
    largest = encoder.largest()
    fit = (max_size - 2 * tar.RECORD) // largest
    if fit < 1:
        raise DataError(
            f"one sample of '{split}' needs up to {largest:,} bytes; raise --max-size {max_size:,}"
        )
    starts = range(0, num_samples, fit)
    return [
        Piece(split, f"{split}-{number:06d}.tar", start, min(start + fit, num_samples))
        for number, start in enumerate(starts)
    ]


def _known(folder: Path, made_from: str) -> dict[str, str]:
    """SHA-256 of the shards of this set that were finished before, by file name.

    Raises:
        UserError: the folder belongs to another set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / _UNFINISHED / "plan.json"
    known: dict[str, str] = {}
    if (folder / FILE).is_file():
        manifest = read_manifest(folder)
        found = manifest.made_from
        known = {shard.file: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    elif plan.is_file():
        found = json.loads(plan.read_bytes())["made_from"]
        records = sorted((folder / _UNFINISHED).glob("*.tar.json"))
        known = {
            record.name.removesuffix(".json"): json.loads(record.read_bytes())["sha256"] for record in records
        }
    elif any(folder.glob("*.tar")):
        raise UserError(f"{folder} holds shards of another origin; choose an empty folder")
    else:
        found = made_from
    if found != made_from:
        raise UserError(
            f"{folder} holds shards of other data or options ({found or 'made elsewhere'};"
            f" asked for: {made_from}); choose another folder or remove it"
        )
    for left in folder.glob("*.tar.tmp-*"):
        left.unlink(missing_ok=True)
    plan.parent.mkdir(exist_ok=True)
    replace_file(plan, [to_json({"made_from": made_from})])
    return known


def _manifest(
    splits: Splits,
    table: GroupTable,
    pieces: list[Piece],
    contents: list[ShardContent],
    encoder: Encoder,
    made_from: str,
) -> Manifest:
    groups = {name: table.assign(dataset, name) for name, dataset in splits.items()}
    counts = {name: np.bincount(ids, minlength=len(table)) for name, ids in groups.items()}
    parts: dict[str, list[Shard]] = {name: [] for name in splits}
    for piece, content in zip(pieces, contents, strict=True):
        if len(content) != piece.stop - piece.start:
            raise DataError(f"shard {piece.file} was changed while it was read; run again")
        inside = np.bincount(groups[piece.split][piece.start : piece.stop], minlength=len(table))
        shard = Shard(
            file=piece.file, bytes=content.bytes, sha256=content.sha256, samples=len(content),
            groups=tuple(inside.tolist()),
        )  # fmt: skip
        parts[piece.split].append(shard)
    dataset = next(iter(splits.values()))
    spec = dataset.spec
    return Manifest(
        made_from=made_from,
        inputs=encoder.inputs,
        target=encoder.target,
        input_shape=spec.input_shape,
        classes=None if spec.num_classes is None else spec.class_names,
        num_targets=spec.num_targets,
        num_tokens=spec.num_tokens,
        next_tokens=spec.next_tokens,
        columns=_vocabularies(splits),
        extra=tuple(dataset.extra),
        groups=Groups(
            columns=table.columns,
            names=table.names,
            counts={name: tuple(count.tolist()) for name, count in counts.items()},
        ),
        splits={
            name: Split(samples=len(splits[name]), shards=tuple(shards)) for name, shards in parts.items()
        },
    )


def _vocabularies(splits: Splits) -> dict[str, tuple[str, ...]]:
    """Value names of every column over all splits, those of the first split first.

    Raises:
        DataError: a column or an extra number is missing in a split.
    """
    named = {
        "columns": [frozenset(dataset.columns) for dataset in splits.values()],
        "extra": [frozenset(dataset.extra) for dataset in splits.values()],
    }
    for kind, found in named.items():
        missing = found[0].union(*found) - found[0].intersection(*found)
        if missing:
            raise DataError(f"{kind} {', '.join(sorted(missing))}: in some splits, but not in all of them")
    columns = next(iter(splits.values())).columns
    return {name: joint_names(dataset.columns[name] for dataset in splits.values()) for name in columns}
