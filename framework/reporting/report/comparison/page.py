"""The page of a comparison: the verdict first, then the evidence."""

from __future__ import annotations

import shlex

from framework.reporting.report.blocks import Page, Remarks, Section
from framework.reporting.report.comparison import curves, groups, result, runs
from framework.reporting.report.comparison.read import ComparisonFiles
from framework.reporting.report.measures import spoken

_SECTIONS = (result.section, result.other_metrics, curves.section, groups.section, runs.section)


def comparison_page(comparison: ComparisonFiles) -> Page:
    """The report of a comparison."""
    base, *others = comparison.arms
    summary = str(comparison.content.get("summary") or "")
    names = " or ".join(arm.name for arm in others)
    asked = f"which of {len(others)} arms are" if summary else f"is {names}"
    question = f"By {spoken(comparison.metric)} on {comparison.split}, {asked} better than {base.name}?"
    if not others:
        question = f"What is the {spoken(comparison.metric)} of {base.name} on {comparison.split}?"
    verdicts = [str(verdict) for verdict in comparison.content.get("verdicts", ())]
    each = [Section("verdicts", "Each arm", [Remarks(verdicts, "", alarming=False)])] if summary else []
    notes = Remarks([str(note) for note in comparison.content.get("notes", ())], "", alarming=False)
    evidence = [section for make in _SECTIONS if (section := make(comparison)) is not None]
    method = [Section("method", "How to read this", [notes])] if notes.items else []
    return Page(
        title=f"Comparison of {base.name} with {len(others)} arms"
        if summary
        else "Comparison of " + ", ".join(arm.name for arm in comparison.arms),
        question=question,
        answers=[summary] if summary else verdicts,
        details=_details(comparison),
        sections=[*evidence[:1], *each, *method, *evidence[1:]],
        notice=_notice(comparison),
    )


def _details(comparison: ComparisonFiles) -> list[tuple[str, str]]:
    seeds = sorted({run.seed for arm in comparison.arms for run in arm.runs})
    content = comparison.content
    command = content.get("command")
    rows = [
        ("arms", str(len(comparison.arms))),
        ("seeds", ", ".join(map(str, seeds))),
        ("configuration", str(content.get("conf") or "")),
        ("budget", str(content.get("budget") or "")),
        ("command", shlex.join(map(str, command)) if isinstance(command, list) else ""),
    ]
    return [(label, text) for label, text in rows if text]


def _notice(comparison: ComparisonFiles) -> str:
    missing = [f"{arm.name}, seed {seed}" for arm in comparison.arms for seed in arm.missing]
    if not missing:
        return ""
    return f"{len(missing)} run{'s have' if len(missing) > 1 else ' has'} no result: {'; '.join(missing)}."
