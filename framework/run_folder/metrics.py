"""metrics.jsonl on the disk: cut back to a checkpoint, and read although a process died while writing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from framework.files import replace_file, writing

METRICS = "metrics.jsonl"
_log = logging.getLogger(__name__)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records as they stand in the file; a torn last line is left out, any other broken one reported.

    Raises:
        OSError: the file exists and cannot be read.
    """
    return [record for _, record in _lines(path)]


def truncate_metrics(path: Path, step: int | None) -> int:
    """Drop what the process that died wrote after it published the checkpoint of `step`.

    These are the records of later steps, those that follow the checkpoint's own record, and a torn last
    line. The rest keeps every byte. None for `step` drops all: the run starts again from the beginning.

    Returns:
        The number of records dropped.

    Raises:
        UserError: the file cannot be read or replaced.
    """
    with writing(path):
        return _truncate(path, step)


def _truncate(path: Path, step: int | None) -> int:
    lines = _lines(path)
    kept = [] if step is None else [line for line in lines if line[1].get("step", 0) <= step]
    for position in range(len(kept) - 1, -1, -1):
        if kept[position][1].get("event") == "checkpoint" and kept[position][1].get("step") == step:
            kept = kept[: position + 1]
            break
    content = b"".join(line for line, _ in kept)
    if path.exists() and path.read_bytes() != content:
        replace_file(path, [content])
    return len(lines) - len(kept)


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            _log.warning("%s:%d is not a record and is left out", path, number)
            continue
        lines.append((line, record))
    return lines
