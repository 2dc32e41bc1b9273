"""Imported once, by the process that ranks and runs of tests are forked from."""

from __future__ import annotations

import importlib.util
import os
from importlib import import_module

from framework.config.schema import rebuild
from framework.registry import registry

registry.load_all()
rebuild()
# What a run imports late, and what test modules import.
LATE = ["framework.run", "pytest", "pandas", "torch._dynamo", "torch.distributed.fsdp"]
LATE += [name for name in ("optuna", "sqlalchemy") if importlib.util.find_spec(name) is not None]
if importlib.util.find_spec("deepspeed") is not None:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    LATE += ["deepspeed", "torch.utils.cpp_extension", "torch._inductor.compile_fx"]
for name in LATE:
    import_module(name)
