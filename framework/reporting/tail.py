"""The records of a run that is still being written."""

from __future__ import annotations

from pathlib import Path

from framework.reporting.jsonl import decode
from framework.run_folder.metrics import METRICS
from framework.training.hooks import Record


class Tail:
    """Reads metrics.jsonl from where the last call stopped.

    A line that is not complete yet is left for the next call; one that is no record is passed over. When
    the file was cut back, by a run that goes on from a checkpoint, `read` begins again from its start.

    Attributes:
        restarted: whether the last `read` began from the start, so that earlier records are to be forgotten.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / METRICS
        self.restarted = False
        self._inode = 0
        self._offset = 0

    def read(self) -> list[Record]:
        """The records that were completed since the last call; none while there is no file.

        Raises:
            OSError: the file exists and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                status = self.path.stat()
                self.restarted = status.st_ino != self._inode or status.st_size < self._offset
                if self.restarted:
                    self._inode, self._offset = status.st_ino, 0
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [record for line in complete.splitlines() if (record := _record(line)) is not None]


def _record(line: bytes) -> Record | None:
    try:
        record = decode(line.decode("utf-8"))
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None
