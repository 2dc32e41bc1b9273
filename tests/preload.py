"""Imported once, by the process that ranks and runs of tests are forked from."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from importlib import import_module
from pathlib import Path

from framework.registry import registry
from tests import tiny

registry.load_all()
# What a run imports late, and what test modules import.
LATE = ["framework.run", "pytest", "pandas", "torch._dynamo", "torch.distributed.fsdp", "torch.profiler"]
LATE += [name for name in ("optuna", "sqlalchemy") if importlib.util.find_spec(name) is not None]
if importlib.util.find_spec("deepspeed") is not None:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    LATE += [
        "deepspeed",
        "deepspeed.runtime.zero.muon.muon_optimizer",
        "deepspeed.module_inject.auto_ep_layer",
    ]
    LATE += ["torch.utils.cpp_extension", "torch._inductor.compile_fx"]
for name in LATE:
    import_module(name)
# Composing once reads the shipped files and builds the schema.
with tempfile.TemporaryDirectory() as folder:
    tiny.loaded(Path(folder))
