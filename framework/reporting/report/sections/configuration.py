"""The resolved configuration, each value with the place where it was written."""

from __future__ import annotations

from framework.config.provenance import DEFAULT, is_leaf, walk
from framework.config.text import scalar
from framework.reporting.report.blocks import Cell, Section, Table
from framework.reporting.report.read import RunFiles


def section(run: RunFiles) -> Section | None:
    """A row per value."""
    rows: list[list[Cell]] = [
        [key, scalar(value), str(run.origins.get(key, DEFAULT))]
        for key, value in walk(dict(run.config))
        if is_leaf(value)
    ]
    if not rows:
        return None
    written = frozenset(place for place, row in enumerate(rows) if row[2] == "command line")
    table = Table("Configuration", ["key", "value", "written in"], rows, written)
    return Section("configuration", "Configuration", [table], folded=True)
