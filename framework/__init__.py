"""Declarative PyTorch training whose heart is loss-weighting policies.

What a plugin or a notebook needs; nothing else is promised to stay where it is. Each name is imported when
it is first used: `python -m framework --help` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.config.load import LoadedConfig, load
    from framework.data.batch import Batch, DataSpec
    from framework.data.dataset import Column, Dataset, Splits
    from framework.data.in_memory import ArrayDataset
    from framework.errors import UserError
    from framework.policies.base import Policy, SampleLosses
    from framework.registry import register
    from framework.run import check, train
    from framework.tasks.base import Task
    from framework.training.hooks import Callback, Record, Reporter, RunHeader

_HOMES = {
    "ArrayDataset": "framework.data.in_memory",
    "Batch": "framework.data.batch",
    "Callback": "framework.training.hooks",
    "Column": "framework.data.dataset",
    "DataSpec": "framework.data.batch",
    "Dataset": "framework.data.dataset",
    "LoadedConfig": "framework.config.load",
    "Policy": "framework.policies.base",
    "Record": "framework.training.hooks",
    "Reporter": "framework.training.hooks",
    "RunHeader": "framework.training.hooks",
    "SampleLosses": "framework.policies.base",
    "Splits": "framework.data.dataset",
    "Task": "framework.tasks.base",
    "UserError": "framework.errors",
    "check": "framework.run",
    "load": "framework.config.load",
    "register": "framework.registry",
    "train": "framework.run",
}

__all__ = [
    "ArrayDataset",
    "Batch",
    "Callback",
    "Column",
    "DataSpec",
    "Dataset",
    "LoadedConfig",
    "Policy",
    "Record",
    "Reporter",
    "RunHeader",
    "SampleLosses",
    "Splits",
    "Task",
    "UserError",
    "check",
    "load",
    "register",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'framework' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
