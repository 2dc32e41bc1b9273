"""The numbers of a record under flat names, for trackers that know only curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework.training.hooks import Record

_POSITION = frozenset({"step", "epoch", "selected_step", "num_steps", "steps_per_epoch"})


def scalars(record: Record, *, groups: bool) -> Iterator[tuple[str, float]]:
    """Tag and value of each number: `train/loss`, `validation/accuracy`, `validation_groups/accuracy/NAME`.

    The evaluations at the selected checkpoint are `final_validation/...`, curves of their own: they do not
    belong to the step at which they are written.
    """
    section = str(record.get("split", record.get("event", "run")))
    if record.get("final"):
        section = f"final_{section}"
    for name, value in record.items():
        if name in _POSITION or name.endswith("seconds"):
            continue
        if _is_number(value):
            yield f"{section}/{name}", value
        elif isinstance(value, dict):
            yield from _nested(f"{section}/{name}", value)
    for group in record.get("groups", []) if groups else []:
        for measure, value in group.items():
            if _is_number(value) and measure not in ("count", "train_count"):
                yield f"{section}_groups/{measure}/{group['name']}", value


def _nested(prefix: str, numbers: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a policy's state; of many groups only the summary, as the top ones change."""
    for name, value in numbers.items():
        if _is_number(value):
            yield f"{prefix}/{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
