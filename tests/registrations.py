"""What a test registers must not be there for the next one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.plugins import FOLDER
from framework.registry import registry


class _UndoError(Exception):
    pass


@contextmanager
def rolled_back(folder: Path | None = None) -> Iterator[None]:
    """Forget, on exit, what was registered inside, the plugins loaded inside, and modules of `folder`."""
    registry.load_all()
    before = set(sys.modules)
    try:
        with registry.transaction():
            yield
            raise _UndoError
    except _UndoError:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            plugin = name.startswith(f"{FOLDER}.") and name not in before
            if plugin or (folder and file and Path(file).is_relative_to(folder)):
                del sys.modules[name]
