"""log.txt in the run folder, and warnings on the console."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from framework.errors import UserError

#: ours, and what Python's own `warnings` become once they are captured
_LOGGERS = ("framework", "py.warnings")


class RunLog:
    """Writes what is logged to the run folder until it is closed; `open_log` makes one."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        self._handlers = handlers
        self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.setLevel(logging.INFO)
            for handler in handlers:
                logger.addHandler(handler)
        logging.captureWarnings(True)

    def close(self) -> None:
        """Put logging back as it was."""
        logging.captureWarnings(False)
        for name, level in self._levels.items():
            logger = logging.getLogger(name)
            logger.setLevel(level)
            for handler in self._handlers:
                logger.removeHandler(handler)
        for handler in self._handlers:
            handler.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def log_path(run_dir: Path, rank: int) -> Path:
    """Where process `rank` writes its log."""
    return run_dir / ("log.txt" if rank == 0 else f"log-rank-{rank:04d}.txt")


def open_log(run_dir: Path, rank: int = 0) -> RunLog:
    """Append everything logged under `framework`, and Python's warnings, to the log in `run_dir`.

    Warnings and errors of the main process go to standard error as well, each text once; another
    process only writes, to a file of its own.

    Raises:
        UserError: the file cannot be written.
    """
    path = log_path(run_dir, rank)
    try:
        file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    return RunLog([file] if rank else [file, _WarningsOnConsole()])


class _WarningsOnConsole(logging.Handler):
    """Each distinct warning on standard error, but those logged with `extra={"on_console": False}`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "on_console", True):
            return
        message = record.getMessage()
        if record.name == "py.warnings":
            # Its first line says where and what; the rest repeats the source.
            message = message.splitlines()[0]
        if message in self._seen:
            return
        self._seen.add(message)
        # Looked up at each call: a progress bar stands in for sys.stderr so that lines appear above it.
        print(f"{record.levelname.lower()}: {message}", file=sys.stderr, flush=True)
