"""What finished runs say in their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.evaluation.averages import is_maximized
from framework.reporting.tail import Tail
from framework.run_folder import is_run_folder, read_environments, read_status
from framework.run_folder.same_run import saved_config

#: what a run cost, beside the metrics of its evaluations
SECONDS = "seconds"
MEMORY = "peak_memory_bytes"
DEVICE_MEMORY = "peak_device_memory_bytes"
#: how many runs it took; more than one for a recipe
RUNS = "runs"
COSTS = (SECONDS, MEMORY, DEVICE_MEMORY, RUNS)


@dataclass(frozen=True)
class Result:
    """A complete run.

    Attributes:
        folder: where it is.
        config: its resolved configuration.
        selection: the best value of the selection metric on the selection split, by which the checkpoint
            was chosen; None if nothing was selected. Of a run that only evaluates what another one made,
            it is the other one's.
        selected_step: the step of that checkpoint.
        final: split -> the evaluation record of the selected checkpoint.
        maximize: metrics of which more is better.
        command: its last start.
        costs: seconds over all starts that said how they ended, largest memory of any of them, and how many
            runs it was made by.
    """

    folder: Path
    config: Mapping[str, Any]
    selection: float | None
    selected_step: int | None
    final: Mapping[str, Mapping[str, Any]]
    maximize: frozenset[str]
    command: Sequence[str]
    costs: Mapping[str, float | None]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def metric(self) -> str:
        """The metric that the checkpoint was selected by."""
        return str(self.config["select"]["metric"])

    def is_maximized(self, metric: str) -> bool:
        """Whether more of `metric` is better."""
        if metric in COSTS:
            return False
        mode = self.config["select"]["mode"]
        if metric == self.metric and mode != "auto":
            return bool(mode == "max")
        return is_maximized(metric, self.maximize)

    def value(self, metric: str, split: str) -> float | None:
        """A metric of the selected checkpoint, or a cost; None where the run has no such number."""
        value = self.costs.get(metric) if metric in COSTS else self.final.get(split, {}).get(metric)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_result(folder: Path, earlier: Sequence[Path] = ()) -> Result:
    """The result of the run in `folder`.

    Args:
        folder: of the run.
        earlier: the folders of runs that it builds on, in order; what they cost is counted with it.

    Raises:
        UserError: it is not a run folder, or the run is not complete.
    """
    if not is_run_folder(folder):
        raise UserError(f"{folder} is not a run folder")
    status = read_status(folder)
    if status is None or not status.complete:
        state = "has not begun" if status is None else f"is {status.state} at step {status.step}"
        raise UserError(f"the run in {folder} {state}; only complete runs can be compared")
    config = saved_config(folder)
    records = Tail(folder).read()
    split = config["select"]["split"]
    chosen = [record for record in records if record.get("best") and record["split"] == split]
    final = {record["split"]: record for record in records if record.get("final")}
    begun = [record for record in records if record["event"] == "run"]
    maximize = frozenset(begun[-1].get("maximize", ())) if begun else frozenset[str]()
    starts = read_environments(folder)
    selection = chosen[-1].get(config["select"]["metric"]) if chosen else None
    if not chosen and earlier:
        selection = read_result(earlier[-1], earlier[:-1]).selection
    return Result(
        folder,
        config,
        selection,
        next((record.get("selected_step") for record in final.values()), None),
        final,
        maximize,
        starts[-1].get("command", []) if starts else [],
        _costs([*starts, *(start for run in earlier for start in read_environments(run))], 1 + len(earlier)),
    )


def _costs(starts: Sequence[Mapping[str, Any]], num_runs: int) -> dict[str, float | None]:
    def known(key: str) -> list[float]:
        return [float(start[key]) for start in starts if start.get(key) is not None]

    return {
        SECONDS: sum(known(SECONDS)) if known(SECONDS) else None,
        MEMORY: max(known(MEMORY), default=None),
        DEVICE_MEMORY: max(known(DEVICE_MEMORY), default=None),
        RUNS: num_runs,
    }
