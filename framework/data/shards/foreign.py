"""A manifest for shards that another program wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from framework.data.shards.content import ShardContent, joined, read_content
from framework.data.shards.decode import kind_of
from framework.data.shards.download import Source, is_remote
from framework.data.shards.index import compact, write_index
from framework.data.shards.manifest import Groups, InputField, Manifest, Shard, Split
from framework.data.shards.metadata import Facts, name_of, read_facts
from framework.data.shards.pool import in_processes
from framework.data.shards.probe import field_of, first_sample, input_member, label_of
from framework.errors import DataError, UserError
from framework.files import writing


@dataclass(frozen=True)
class Found:
    """What was read of one shard."""

    content: ShardContent
    facts: list[Facts]


class _Reading:
    """Reads one shard; picklable."""

    def __init__(self, member: str, origins: Sequence[str]) -> None:
        self.member = member
        self.origins = origins

    def __call__(self, name: str) -> Found:
        with at_hand(name) as path:
            return Found(
                read_content(path, [self.member]), read_facts(path, self.origins) if self.origins else []
            )


@contextmanager
def at_hand(name: str) -> Iterator[Path]:
    """The shard `name` as a local file; inside, errors speak of `name`.

    Raises:
        DataError: it cannot be had.
    """
    if not is_remote(name):
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="shard-") as folder:
        path = Path(folder) / "shard.tar"
        Source().save(name, path)
        try:
            yield path
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from error


def index_shards(
    files: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    member: str | None = None,
    label: str | None = None,
    columns: Sequence[str] = (),
    workers: int = 0,
    progress: Callable[[int], None] = lambda shards: None,
) -> Manifest:
    """Read every shard once and write index and manifest into `folder`; the shards stay where they are.

    Args:
        files: split -> paths or URLs of its shards, in order; those of a server are fetched once, and the
            first one twice more to learn what samples look like.
        folder: made if it does not exist.
        member: extension of the input; None takes the first image, else array, tensor or text.
        label: `cls`, `txt` or a key of the .json member; None looks for `cls`, then for the key `label`.
        columns: further keys of the .json member, each a metadata column.
        workers: background processes.
        progress: called with 1 for every shard.

    Raises:
        DataError: a shard is broken, or holds no such member or value; names all faults.
        UserError: the folder cannot be written.
    """
    paths = [file for shards in files.values() for file in shards]
    with at_hand(paths[0]) as first:
        sample = first_sample(first)
        member = member or input_member(first, sample)
        label = label or label_of(first, sample)
    try:
        kind_of(member)
    except ValueError as error:
        raise DataError(f"--input {member}: {error}") from error
    reading = _Reading(member, [label, *columns])
    found: list[Found] = []
    faults: list[str] = []
    for result in in_processes(reading, paths, workers):
        if isinstance(result, UserError):
            faults.append(str(result))
        else:
            found.append(result)
        progress(1)
    if faults:
        raise DataError("\n  ".join([f"{len(faults)} bad shard{'s' * (len(faults) > 1)}:", *faults]))
    _check_members(paths, found, member)
    with at_hand(paths[0]) as first:
        field = field_of(first, [one.content for one in found], member)
    return _write(files, folder, found, field, label, columns)


def _check_members(paths: Sequence[str], found: Sequence[Found], member: str) -> None:
    """Raises DataError for samples without the input, all shards together."""
    faults = []
    for path, one in zip(paths, found, strict=True):
        missing = np.flatnonzero(one.content.arrays[f"offset.{member}"] == 0)
        if len(missing):
            keys = ", ".join(one.content.keys[int(k)] for k in missing[:3])
            faults.append(f"shard {path}: {len(missing)} samples have no .{member}: {keys}")
    if faults:
        raise DataError("\n  ".join(faults))


def _write(
    files: Mapping[str, Sequence[str]],
    folder: Path,
    found: Sequence[Found],
    field: InputField,
    label: str,
    columns: Sequence[str],
) -> Manifest:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    is_real = _is_real(found)
    names, ids = _columns(found, label, columns, is_real)
    group = next(iter(columns), None) if is_real else "label"
    group_names = names[group] if group else ("all",)
    members = ids[group] if group else [np.zeros(len(one.content), np.int64) for one in found]
    counts = [np.bincount(part[part >= 0], minlength=len(group_names)) for part in members]
    arrays: dict[str, np.ndarray] = {}
    splits: dict[str, Split] = {}
    group_counts: dict[str, tuple[int, ...]] = {}
    start = 0
    for split, paths in files.items():
        part = slice(start, start + len(paths))
        start = part.stop
        arrays |= {f"{split}/{key}": array for key, array in _arrays(found[part], is_real).items()}
        for column, parts in ids.items():
            arrays[f"{split}/column.{column}"] = compact(np.concatenate(parts[part]), len(names[column]))
        shards = tuple(
            _shard(path, folder, one.content, count)
            for path, one, count in zip(paths, found[part], counts[part], strict=True)
        )
        splits[split] = Split(samples=sum(shard.samples for shard in shards), shards=shards)
        group_counts[split] = tuple(np.sum(counts[part], axis=0).tolist())
    manifest = Manifest(
        inputs={"": field},
        input_shape=field.shape,
        classes=None if is_real else names["label"],
        num_tokens=256 if field.kind == "text" else None,
        columns=names,
        origins={"target" if is_real else "label": label},
        groups=Groups(columns=(group,) if group else (), names=group_names, counts=group_counts),
        splits=splits,
    )
    return write_index(folder, arrays, manifest)


def _columns(
    found: Sequence[Found], label: str, columns: Sequence[str], is_real: bool
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[np.ndarray]]]:
    """Names of the values of each metadata column, and ids into them for each shard.

    Raises:
        DataError: a column has no value at all, or a sample has no label.
    """
    names: dict[str, tuple[str, ...]] = {}
    ids: dict[str, list[np.ndarray]] = {}
    for place, (column, origin) in enumerate([("label", label), *zip(columns, columns, strict=True)]):
        if place == 0 and is_real:
            continue
        names[column], ids[column] = _column([one.facts[place] for one in found])
        if not names[column]:
            raise DataError(f"no sample has a value of '{origin}'")
    missing = sum(int((part < 0).sum()) for part in ids.get("label", ()))
    if missing:
        raise DataError(f"{missing} samples have no label ('{label}')")
    return names, ids


def _arrays(found: Sequence[Found], is_real: bool) -> dict[str, np.ndarray]:
    """The places of the inputs of one split and, where they are real numbers, its targets."""
    arrays = joined([one.content for one in found])
    if is_real:
        values = [np.array(one.facts[0].values, np.float32)[one.facts[0].ids] for one in found]
        arrays["target"] = np.concatenate(values)
    return arrays


def _shard(path: str, folder: Path, content: ShardContent, counts: np.ndarray) -> Shard:
    return Shard(
        file=_file(path, folder),
        bytes=content.bytes,
        sha256=content.sha256,
        samples=len(content),
        groups=tuple(counts.tolist()),
    )


def _is_real(found: Sequence[Found]) -> bool:
    """Whether labels are real numbers: all are numbers, and some no integers."""
    values = {value for one in found for value in one.facts[0].values}
    return any(isinstance(v, float) for v in values) and all(isinstance(v, int | float) for v in values)


def _column(facts: Sequence[Facts]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names of the values over all shards, numbers in their order and then texts, and ids into them."""
    values = {value for one in facts for value in one.values if value is not None}
    ordered = sorted(values, key=lambda v: (isinstance(v, str), v))
    names = tuple(dict.fromkeys(map(name_of, ordered)))
    place = {name: number for number, name in enumerate(names)}
    ids = []
    for one in facts:
        numbers = [-1 if value is None else place[name_of(value)] for value in one.values]
        ids.append(np.array(numbers, np.int64)[one.ids])
    return names, ids


def _file(path: str, folder: Path) -> str:
    """How the manifest in `folder` names a shard."""
    if is_remote(path):
        return path
    absolute = Path(path).absolute()
    inside = absolute.is_relative_to(folder.absolute())
    return str(absolute.relative_to(folder.absolute())) if inside else str(absolute)
