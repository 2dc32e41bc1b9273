"""Fresh processes that find their imports done: forked from one that did them once."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

#: the forking process is one for all that a test process starts, and so is the list of its imports
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["tests.preload"])


def start_server() -> None:
    """Now, with the imports of all tests: a study in this process would start it with its own, fewer ones."""
    START.set_forkserver_preload(["tests.preload"])
    forkserver.ensure_running()
