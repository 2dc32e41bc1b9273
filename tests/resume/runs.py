"""Runs in this process, through the command line as a user starts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.__main__ import main
from tests.tiny import comparable, write
from tests.triggers import Action, Signals, planned

PROBED = ["plugins=[tests.probes.plugin]", "task.name=probed", "callbacks=[{name: probe}]"]
COMMON = [
    "train.steps=18",
    "log.every_steps=4",
    "evaluate.every_epochs=null",
    "evaluate.every_steps=6",
    "checkpoint.every_epochs=null",
    "checkpoint.every_steps=6",
]


def run(
    folder: Path, overrides: Sequence[str] = (), actions: Mapping[tuple[str, int], Action] | None = None
) -> int:
    """The exit code of the tiny run in `folder`."""
    with planned(dict(actions or {})):
        return main([f"conf={write(folder.parent)}", *PROBED, *COMMON, *overrides, f"run.dir={folder}"])


def stopped(folder: Path, overrides: Sequence[str], after: int) -> None:
    """The run up to a signal that comes in the step before `after`."""
    assert run(folder, overrides, {("losses", after - 1): Signals("SIGTERM")}) == 75


def records(folder: Path) -> list[dict[str, Any]]:
    """What the run measured; a stop adds checkpoints, which measure nothing."""
    return [r for r in comparable(folder / "metrics.jsonl") if r["event"] != "checkpoint"]
