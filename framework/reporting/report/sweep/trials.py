"""Every trial with its numbers, and the way to its run."""

from __future__ import annotations

from framework.reporting.report.blocks import Cell, Section, Table
from framework.reporting.report.measures import is_number, spoken
from framework.reporting.report.read import REPORT
from framework.reporting.report.sweep.read import SweepFiles, value_of


def chosen(sweep: SweepFiles) -> Section | None:
    """The best trial: value on validation, then each final split, per seed; None without a complete trial."""
    best = sweep.content.get("best")
    trial = next((trial for trial in sweep.trials if trial["number"] == sweep.best), None)
    if best is None or trial is None:
        return None
    rows: list[list[Cell]] = [
        [f"{sweep.split}, selected by", int(seed), value] for seed, value in trial.get("by_seed", {}).items()
    ]
    rows += [
        [split, int(seed), value]
        for split, by_seed in best.get("finals", {}).items()
        for seed, record in by_seed.items()
        if is_number(value := record.get(sweep.metric))
    ]
    settings: list[list[Cell]] = [
        [key, value_of(trial, key), str(searched)] for key, searched in sweep.content.get("space", {}).items()
    ]
    return Section(
        "chosen",
        f"Trial {sweep.best}",
        [
            Table("Setting", ["parameter", "value", "searched in"], settings),
            Table(f"{spoken(sweep.metric)} of the best trial", ["split", "seed", spoken(sweep.metric)], rows),
        ],
    )


def section(sweep: SweepFiles) -> Section:
    """A row per trial, the best first, then those that have no value."""
    order = [*sweep.complete, *(trial for trial in sweep.trials if not is_number(trial.get("value")))]
    rows: list[list[Cell]] = []
    links: dict[int, str] = {}
    for trial in order:
        link = sweep.link(trial, REPORT)
        if link is not None:
            links[len(rows)] = link
        rows.append(
            [
                trial["number"],
                trial["state"],
                trial.get("value"),
                *(value_of(trial, key) for key in sweep.keys),
                trial.get("seconds"),
                str(trial.get("host") or ""),
                str(trial.get("reason") or ""),
            ]
        )
    columns = ["trial", "state", spoken(sweep.metric), *sweep.keys, "seconds", "host", "reason"]
    return Section("trials", "Trials", [Table("Trials, the best first", columns, rows, links=links)])
