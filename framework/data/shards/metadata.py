"""Facts about samples that stand in their .json, .cls and .txt members."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from framework.data.shards import tar
from framework.data.shards.tar import TarError
from framework.errors import DataError

Value = str | int | float | bool | None
#: members that hold one value each
SINGLE = ("cls", "txt")
#: `float` would also take `nan`, `infinity` and `1_000`, which are words here
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Facts:
    """One fact about the samples of one shard.

    Attributes:
        values: the different values, as they occur.
        ids: (samples,) int64 into `values`.
    """

    values: tuple[Value, ...]
    ids: np.ndarray


def read_facts(path: Path, origins: Sequence[str]) -> list[Facts]:
    """The fact from each of `origins`: `cls` or `txt` for such a member, else a key of the .json member.

    A sample without it has None.

    Raises:
        DataError: the shard or a member cannot be read, or a value is a list, an object or not finite.
    """
    try:
        content = tar.mapped(path)
        members = tar.scan(content)
        samples = list(tar.group(members))
    except (OSError, TarError) as error:
        raise DataError(f"shard {path}: {error}") from error
    found: list[dict[Value, int]] = [{} for _ in origins]
    ids = np.empty((len(origins), len(samples)), np.int64)
    single = [origin in SINGLE for origin in origins]
    for number, (key, places) in enumerate(samples):
        document: Mapping[str, Value] = {}
        try:
            if not all(single) and "json" in places:
                document = _object(_content(content, members, places, "json"))
            for column, origin in enumerate(origins):
                value = (
                    _one(_content(content, members, places, origin))
                    if single[column]
                    else document.get(origin)
                )
                if isinstance(value, list | dict):
                    raise ValueError(f"'{origin}' is a list or an object, not one value")
                if isinstance(value, float) and not math.isfinite(value):
                    raise ValueError(f"'{origin}' is {value}, no finite number")
                ids[column, number] = found[column].setdefault(value, len(found[column]))
        except ValueError as error:
            raise DataError(f"shard {path}, sample {key}: {error}") from error
    return [Facts(tuple(values), row) for values, row in zip(found, ids, strict=True)]


def name_of(value: Value) -> str:
    """What a value is called as a class or group."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _content(content: mmap.mmap, members: tar.Members, places: Mapping[str, int], extension: str) -> bytes:
    if extension not in places:
        return b""
    start = members.offsets[places[extension]]
    return content[start : start + members.sizes[places[extension]]]


def _object(content: bytes) -> Mapping[str, Value]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ValueError(f".json is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(".json holds no object of names and values")
    return document


def _one(content: bytes) -> Value:
    """A number where the text is one, else the text; None for nothing."""
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text: {error}") from error
    if not _NUMBER.fullmatch(text):
        return text or None
    return int(text) if text.lstrip("+-").isdecimal() else float(text)
