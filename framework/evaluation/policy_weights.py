"""What a run's policy thought of each group in the end, as weights for the sampling of another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from framework.data.group_weights import write_weights
from framework.errors import UserError
from framework.run_folder import read_metrics
from framework.run_folder.metrics import METRICS

#: how the mean of a number over all steps is called by a policy that keeps it, after the number itself
_AVERAGE = "_average"

Which = Literal["average", "last"]


def export_weights(run_dir: Path, out: Path, which: Which = "average") -> dict[str, float]:
    """Write the weight of every group to `out`, in the form that `data.sampling.weights` reads.

    Args:
        run_dir: the run folder.
        out: the file to write.
        which: `average`: the mean over all steps where the policy keeps one, as DoReMi does, else the mean
            over the run's policy records, one every `log.every_steps` steps; `last`: the newest record.

    Returns:
        Group name -> weight.

    Raises:
        UserError: the run has no records of a number per group, or the file cannot be written.
    """
    records = [record for record in read_metrics(run_dir / METRICS) if record.get("event") == "policy"]
    if not records:
        raise UserError(f"{run_dir} has no record of a policy with a state; erm and rgd, say, have none")
    numbers = {name: value for name, value in records[-1].items() if isinstance(value, Mapping)}
    per_group = [name for name in numbers if not name.endswith((_AVERAGE, "_summary"))]
    if len(per_group) != 1:
        found = ", ".join(per_group) if per_group else ", ".join(numbers) or "none"
        raise UserError(
            f"{run_dir}: the policy's records must have one number per group and step, as q or pi of at most"
            f" 64 groups; found {found}"
        )
    name = per_group[0]
    if which == "last":
        weights = dict(numbers[name])
    elif f"{name}{_AVERAGE}" in numbers:
        weights = dict(numbers[f"{name}{_AVERAGE}"])
    else:
        weights = _mean([record[name] for record in records])
    write_weights(out, weights)
    return weights


def _mean(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {group: sum(record[group] for record in records) / len(records) for group in records[0]}
