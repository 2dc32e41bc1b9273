"""Imported once, by the process that all runs of a study are forked from: no run waits for its imports."""

from __future__ import annotations

import signal
from importlib import import_module

from framework.config.schema import rebuild
from framework.registry import registry

# A scheduler signals all processes of a job: the one that forks must be there until the runs have saved.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
registry.load_all()
rebuild()
# torch imports _dynamo with the first optimizer, a table imports pandas.
for module in ("framework.run", "torch._dynamo", "pandas"):
    import_module(module)
