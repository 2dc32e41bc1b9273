"""A run small enough for tests: an MLP on the bundled digits, from a file as a user would write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.config.load import LoadedConfig, load
from framework.training.assemble import Run, assemble

TEXT = """
defaults:
  - base
  - data: digits_longtail
  - model: mlp
  - task: classification
  - policy: erm
  - optimizer: sgd
  - schedule: constant
  - engine: single
  - override reporting: quiet
  - _self_
name: tiny
model: {hidden: [16]}
optimizer: {lr: 0.1}
batch: {size: 32}
train: {epochs: null, steps: 12}
callbacks: []
run: {report: false}
"""


def write(folder: Path, text: str = TEXT) -> Path:
    """The tiny run file in `folder`."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def loaded(folder: Path, overrides: Sequence[str] = (), world_size: int = 1) -> LoadedConfig:
    """The tiny run, composed and validated."""
    return load(str(write(folder)), overrides, world_size=world_size)


def assembled(folder: Path, overrides: Sequence[str] = ()) -> Run:
    """The tiny run, built; nothing is written."""
    return assemble(loaded(folder, overrides).config)


def comparable(metrics: Path) -> list[dict[str, Any]]:
    """The records of a run without those of its processes and without wall-clock values."""
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [
        {key: value for key, value in record.items() if not key.endswith("seconds")}
        for record in records
        if record["event"] != "run"
    ]
