"""What the run ran on."""

from __future__ import annotations

import shlex

from framework.reporting.report.blocks import Block, Cell, Facts, Section, Table
from framework.reporting.report.read import Record, RunFiles

_LABELS = {
    "started": "started",
    "python": "Python",
    "platform": "platform",
    "cpu_count": "CPUs",
    "world_size": "processes",
}


def section(run: RunFiles) -> Section | None:
    """The newest start, the versions of packages, and the run's own description."""
    if not run.environments and not run.facts.summary:
        return None
    blocks: list[Block] = []
    if run.facts.summary:
        blocks.append(
            Facts([(str(label), str(text)) for label, text in run.facts.summary if not _is_group(str(label))])
        )
    if run.environments:
        newest = run.environments[-1]
        blocks.append(Facts(_facts(newest)))
        packages: list[list[Cell]] = [[str(k), str(v)] for k, v in newest.get("packages", {}).items()]
        blocks.append(Table("Packages", ["package", "version"], packages))
    return Section("environment", "What ran, and where", blocks)


def _is_group(label: str) -> bool:
    return label.startswith("group ")


def _facts(entry: Record) -> list[tuple[str, str]]:
    rows = [(label, str(entry[key])) for key, label in _LABELS.items() if entry.get(key) is not None]
    git = entry.get("git")
    if isinstance(git, dict):
        rows.append(
            ("commit", f"{git.get('commit')}{', with uncommitted changes' if git.get('dirty') else ''}")
        )
    command = entry.get("command")
    if isinstance(command, list):
        rows.append(("command", shlex.join(map(str, command))))
    return rows
