"""What one record says on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.reporting.text import Segment, number, shorten_group
from framework.training.hooks import Record


def judged_by(record: Mapping[str, Any]) -> str | None:
    """The measure that an evaluation's worst group is found by: accuracy or, without one, loss."""
    return next((name for name in ("accuracy", "loss") if f"worst_group_{name}" in record), None)


def worst_group_segment(record: Record, width: int | None) -> str:
    """`worst group NAME VALUE`, the name cut for a line of `width`; nothing if the evaluation names none."""
    measure = judged_by(record)
    if measure is None or "worst_group" not in record:
        return ""
    name = str(record["worst_group"])
    if width is not None:
        name = shorten_group(name, max(8, width // 6))
    return f"worst group {name} {number(record[f'worst_group_{measure}'])}"


def train_segments(record: Record) -> list[Segment]:
    """Loss and objective of a `train` record."""
    segments = [(0, f"loss {number(record.get('loss'))}")]
    if record.get("objective") is not None:
        segments.append((2, f"objective {number(record['objective'])}"))
    if record.get("gradient_norm") is not None:
        segments.append((5, f"gradient norm {number(record['gradient_norm'])}"))
    return segments


def evaluation_segments(record: Record, width: int | None) -> list[Segment]:
    """Split, averages and worst group of an `evaluation` record, for a line of `width`."""
    segments = [(0, str(record.get("split", "evaluation")))]
    if record.get("final"):
        segments.append((3, f"selected step {record['selected_step']}"))
    elif "step" in record:
        segments.append((3, f"step {record['step']}"))
    segments.append((2, f"loss {number(record.get('loss'))}"))
    measure = judged_by(record)
    if measure is not None:
        if measure != "loss":
            segments.append((0, f"{measure} {number(record.get(measure))}"))
        segments.append((4, f"group average {number(record[f'group_average_{measure}'])}"))
    worst = worst_group_segment(record, width)
    if worst:
        segments.append((1, worst))
    if record.get("best"):
        segments.append((3, "best"))
    return segments
