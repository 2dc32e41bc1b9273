"""Fresh processes that find their imports done: forked from one that did them once."""

from __future__ import annotations

import multiprocessing

#: the forking process is one for all that a test process starts, and so is the list of its imports
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["tests.preload"])
