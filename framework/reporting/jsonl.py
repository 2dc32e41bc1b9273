"""metrics.jsonl: every record of a run, one JSON object a line, in full precision."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, ClassVar, TextIO

from framework.errors import UserError
from framework.run_folder.metrics import METRICS
from framework.training.hooks import Record, Reporter, RunHeader

#: JSON has no word for these; a string loses nothing and is still valid JSON
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
#: keys whose values are texts even if a group is called "NaN"
_TEXTS = frozenset({"event", "name", "split", "worst_group", "reason"})


class JsonLines(Reporter):
    """Appends each record to metrics.jsonl in the run folder. Always on, so it is no option of a run file.

    A record has left this process when `record` returns, so a killed process loses nothing; `sync`
    makes it survive a power cut as well. A failure ends the run: a run without its numbers is worth nothing.
    """

    essential: ClassVar[bool] = True

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / METRICS
        self._file: TextIO | None = None

    def start(self, header: RunHeader) -> None:
        """Open the file for appending.

        Raises:
            UserError: the file cannot be written.
        """
        try:
            # A name of a file that is no UTF-8 becomes the escape that JSON has for it.
            self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise self._failure(error) from error

    def record(self, record: Record) -> None:
        """Append one line.

        Raises:
            UserError: the disk is full or gone.
        """
        assert self._file is not None, "start comes first"
        try:
            self._file.write(encode(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def sync(self) -> None:
        """Wait until the disk holds every record.

        Raises:
            UserError: the disk is full or gone.
        """
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def close(self, outcome: str) -> None:
        """Make the records durable and close the file.

        Raises:
            UserError: the disk is full or gone.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            os.fsync(file.fileno())
            file.close()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.path}: {error.strerror or error}")


def encode(record: Record) -> str:
    """One line of valid JSON; NaN and the infinities become the strings "NaN", "Infinity", "-Infinity"."""
    return json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)


def decode(line: str) -> Record:
    """The record of one line, bit for bit what `encode` was given."""
    return restore(json.loads(line))


def restore(record: Record) -> Record:
    """A record that was read as JSON, with its NaN and infinities as numbers again."""
    restored: Record = _numbers(record)
    return restored


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {
            key: item if key in _TEXTS and isinstance(item, str) else _numbers(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value
