"""What the run took: time, steps per second, memory."""

from __future__ import annotations

from itertools import pairwise

from framework.reporting.report.blocks import Facts, Section
from framework.reporting.report.measures import Record, is_number
from framework.reporting.report.read import RunFiles
from framework.reporting.text import duration

_MEMORY = {
    "largest memory of the process": "peak_memory_bytes",
    "largest memory on the device": "peak_device_memory_bytes",
}


def section(run: RunFiles) -> Section | None:
    """Sums over all processes that worked on the run, one after the other."""
    trained = [r for r in run.of("train") if is_number(r.get("elapsed_seconds"))]
    if not trained:
        return None
    total = sum(end["elapsed_seconds"] for end in _ends(trained))
    rows = [
        ("time until the last training step", _time(total)),
        ("optimizer steps", f"{trained[-1]['step']:,}"),
    ]
    if is_number(trained[-1].get("samples")):
        rows.append(("training samples seen", f"{trained[-1]['samples']:,}"))
    rate = _steps_per_second(trained)
    if rate is not None:
        rows.append(("steps per second, evaluations included", f"{rate:.3g}"))
    measured = [r["seconds"] for r in (*run.of("evaluation"), *run.finals) if is_number(r.get("seconds"))]
    if measured:
        rows.append(("in evaluations", f"{_time(sum(measured))} in {len(measured)}"))
    starts = len(run.environments)
    if starts > 1:
        rows.append(
            ("starts", f"{starts}: stopped and continued {starts - 1} time{'s' if starts > 2 else ''}")
        )
    for label, key in _MEMORY.items():
        known = [start[key] for start in run.environments if start.get(key)]
        if known:
            rows.append((label, _size(max(known))))
    return Section("cost", "Cost", [Facts(rows)])


def _ends(records: list[Record]) -> list[Record]:
    """The last record of each process: its clock starts anew."""
    pairs = pairwise(records)
    return [a for a, b in pairs if b["elapsed_seconds"] < a["elapsed_seconds"]] + [records[-1]]


def _steps_per_second(records: list[Record]) -> float | None:
    """Between the records of one process, so that starting up does not count."""
    steps, seconds = 0, 0.0
    for a, b in pairwise(records):
        if b["elapsed_seconds"] > a["elapsed_seconds"]:
            steps += b["step"] - a["step"]
            seconds += b["elapsed_seconds"] - a["elapsed_seconds"]
    return steps / seconds if seconds else None


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _size(num_bytes: int) -> str:
    gigabytes = num_bytes / 2**30
    return f"{gigabytes:.2f} GiB" if gigabytes >= 1 else f"{num_bytes / 2**20:.0f} MiB"
