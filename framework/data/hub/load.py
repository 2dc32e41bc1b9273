"""Rows of the `datasets` library: from the Hugging Face hub, a folder, or files."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from framework.data.files.paths import existing_file
from framework.errors import DataError, UserError
from framework.naming import nearest
from framework.paths import expanded, is_folder

#: suffix of a file -> the library's reader
_READERS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".arrow": "arrow",
}
SUFFIXES = tuple(_READERS)
#: `NAME` or `OWNER/NAME`
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
Split = Literal["train", "validation", "test"]

Rows = Any


def library() -> Any:
    """The `datasets` library.

    Raises:
        UserError: it is not installed.
    """
    try:
        found: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(
            f"the source huggingface needs the package datasets ({error}):"
            " run `pip install framework[datasets]`"
        ) from error
    # what goes wrong is raised as well
    found.logging.set_verbosity(found.logging.CRITICAL)
    if not sys.stderr.isatty():
        found.disable_progress_bars()
    return found


def load_files(paths: Mapping[str, str], max_rows: int | None) -> dict[str, Rows]:
    """The rows of a file, or of the files that a pattern with ``*`` names, for each split.

    Raises:
        DataError: a file is missing or broken, or of no known kind.
    """
    loaded = {}
    for split, path in paths.items():
        reader = _READERS.get(Path(path).suffix.lower())
        if reader is None:
            raise DataError(f"{path}: the suffix is none of {', '.join(_READERS)}")
        name = str(expanded(path)) if "*" in path else str(existing_file(path))
        more = {"delimiter": "\t"} if path.lower().endswith(".tsv") else {}
        loaded[split] = _load(path, max_rows, path=reader, data_files=name, split="train", **more)
    return loaded


def load_named(
    path: str,
    splits: Mapping[Split, str] | None,
    config: str | None = None,
    revision: str | None = None,
    max_rows: int | None = None,
) -> dict[str, Rows]:
    """The splits of a dataset on the hub, or of a folder.

    Args:
        path: a folder that `save_to_disk` wrote, any folder that the library reads, or a name on the hub.
        splits: our name of a split -> its name there; None takes those of the same name.
        config: of several that a dataset on the hub has.
        revision: on the hub.
        max_rows: read only so many rows of each split, as a stream.

    Raises:
        DataError: it cannot be found or read, or lacks a split.
    """
    folder = expanded(path)
    if is_folder(folder) and any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        with _reported(path):
            found = library().load_from_disk(str(folder))
        found = found if isinstance(found, dict) else {"train": found}
        return {
            split: rows if max_rows is None else rows.select(range(min(max_rows, len(rows))))
            for split, rows in _chosen(path, found, splits).items()
        }
    if is_folder(folder):
        return _chosen(path, _load(path, max_rows, path=str(folder)), splits)
    if not _HUB_NAME.fullmatch(path):
        raise DataError(
            f"{path}: neither a folder, nor a file that ends in {', '.join(_READERS)}, nor a name on the hub"
            " (OWNER/NAME)"
        )
    return _chosen(path, _load(path, max_rows, path=path, name=config, revision=revision), splits)


def _load(place: str, max_rows: int | None, **words: Any) -> Any:
    """Everything as Arrow files that are mapped into memory, or the first rows in memory."""
    with _reported(place):
        if max_rows is None:
            return library().load_dataset(**words)
        stream = library().load_dataset(**words, streaming=True)
        if isinstance(stream, dict):
            return {split: _first(rows, max_rows) for split, rows in stream.items()}
        return _first(stream, max_rows)


def _first(stream: Any, count: int) -> Rows:
    """The first rows of a stream; pictures stay the bytes of their files."""
    # the rows of a text file have no types before they are read
    raw = stream if stream.features is None else stream.decode(False)
    return library().Dataset.from_list(list(raw.take(count)), features=stream.features)


def _chosen(path: str, found: Mapping[str, Rows], splits: Mapping[Split, str] | None) -> dict[str, Rows]:
    wanted: dict[Split, str] = (
        {name: name for name in get_args(Split) if name in found} if splits is None else dict(splits)
    )
    if "train" not in wanted:
        raise DataError(f"{path}: no split to train on; name one in `splits` (it has {', '.join(found)})")
    for name in wanted.values():
        if name not in found:
            raise DataError(f"{path}: no split '{name}'{nearest(name, found)} (it has {', '.join(found)})")
    return {split: found[name] for split, name in wanted.items()}


@contextmanager
def _reported(place: str) -> Iterator[None]:
    """Inside, what the library raises is told as one message."""
    try:
        yield
    except UserError:
        raise
    # The library raises dozens of classes, its readers' own among them.
    except Exception as error:
        cause = error.__cause__ or error
        advice = "; without a network, name a local folder or file" if isinstance(error, OSError) else ""
        text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise DataError(f"{place}: the library datasets cannot read it: {text}{advice}") from error
