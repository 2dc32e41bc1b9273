"""The training samples that a policy counted most, from the records of the callback `sample_weights`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from framework.reporting.report.measures import Record, is_number

#: samples that a report shows
NUM_SAMPLES = 12
#: a weight must be so much above 1, which ERM gives, for its sample to be called up-weighted
_RAISED = 1.001


def most_weighted(records: Iterable[Record], limit: int = NUM_SAMPLES) -> list[dict[str, Any]]:
    """The samples with the largest weights in any recorded batch, each once, the largest first.

    Every entry has `index`, `group`, `weight` (1 is that of ERM), `sample_loss`, `step` of the batch and
    `times`, the number of records that name the sample. Those that count no more than under ERM are
    left out.
    """
    found: dict[int, dict[str, Any]] = {}
    times: dict[int, int] = {}
    for record in records:
        for entry in record.get("top", ()):
            index, weight = int(entry["index"]), entry["weight"]
            if not is_number(weight) or weight <= _RAISED:
                continue
            times[index] = times.get(index, 0) + 1
            if index not in found or weight > found[index]["weight"]:
                found[index] = {**entry, "step": record["step"]}
    # Of samples with the same weight, as those of one group have, the harder ones tell more.
    ranked = sorted(found.values(), key=lambda entry: (-entry["weight"], -_loss(entry), entry["index"]))
    return [{**entry, "times": times[int(entry["index"])]} for entry in ranked[:limit]]


def _loss(entry: Record) -> float:
    return float(entry["sample_loss"]) if is_number(entry.get("sample_loss")) else 0.0
