"""What a test registers must not be there for the next one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from framework.registry import registry


class _UndoError(Exception):
    pass


@contextmanager
def rolled_back() -> Iterator[None]:
    """Forget, on exit, the components that were registered and the modules that were imported inside."""
    registry.load_all()
    modules = set(sys.modules)
    try:
        with registry.transaction():
            yield
            raise _UndoError
    except _UndoError:
        for name in set(sys.modules) - modules:
            del sys.modules[name]
