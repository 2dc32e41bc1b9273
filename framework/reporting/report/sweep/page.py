"""The page of a sweep: the best setting and its doubts first, then the evidence."""

from __future__ import annotations

import shlex

from framework.reporting.report.blocks import Page
from framework.reporting.report.measures import spoken
from framework.reporting.report.sweep import history, parameters, trials
from framework.reporting.report.sweep.read import SweepFiles

_SECTIONS = (trials.chosen, history.section, parameters.section, trials.section)


def sweep_page(sweep: SweepFiles) -> Page:
    """The report of a sweep."""
    name = str(sweep.content.get("name", sweep.dir.name))
    way = "largest" if sweep.maximize else "smallest"
    return Page(
        title=f"Sweep of {name}",
        question=f"Which setting of {name} has the {way} {spoken(sweep.metric)} on {sweep.split}?",
        answers=[str(verdict) for verdict in sweep.content.get("verdicts", ())],
        details=_details(sweep),
        sections=[section for make in _SECTIONS if (section := make(sweep)) is not None],
    )


def _details(sweep: SweepFiles) -> list[tuple[str, str]]:
    content = sweep.content
    states = [str(trial["state"]) for trial in sweep.trials]
    command = content.get("command")
    rows = [
        ("trials", ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))),
        ("seeds", ", ".join(map(str, content.get("seeds", ())))),
        ("sampler", str(content.get("sampler") or "")),
        ("pruner", str(content.get("pruner") or "")),
        ("configuration", str(content.get("conf") or "")),
        ("storage", str(content.get("storage") or "")),
        ("command", shlex.join(map(str, command)) if isinstance(command, list) else ""),
    ]
    return [(label, text) for label, text in rows if text]
