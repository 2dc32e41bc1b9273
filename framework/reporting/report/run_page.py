"""The page of one run: the question and the verdict, then the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.reporting.report.blocks import Page, Remarks, Section
from framework.reporting.report.read import RunFiles
from framework.reporting.report.sections import (
    configuration,
    cost,
    curves,
    environment,
    groups,
    policy_state,
    predictions,
    samples,
    weights,
)
from framework.reporting.report.verdict import verdict

#: in the order of the page; each gives a section, or None where the run has nothing to show
_SECTIONS = (
    groups.section,
    curves.section,
    policy_state.section,
    weights.section,
    samples.section,
    predictions.section,
    cost.section,
    environment.section,
    configuration.section,
)


def run_page(run: RunFiles) -> Page:
    """The report of one run."""
    judgement = verdict(run)
    remarks = Remarks(judgement.remarks, "No check of this run's numbers found anything unusual.")
    evidence = [section for make in _SECTIONS if (section := make(run)) is not None]
    return Page(
        title=f"Run {run.name}",
        question=_question(run),
        answers=[judgement.answer],
        details=_details(run),
        sections=[Section("doubts", "Before you believe it", [remarks]), *evidence],
        notice=judgement.notice,
    )


def _question(run: RunFiles) -> str:
    policy = _component(run.setting("policy"))
    data = _component(run.setting("data.source"))
    return f"How well does every group of {data or 'the data'} do under {policy or 'this policy'}?"


def _details(run: RunFiles) -> list[tuple[str, str]]:
    details = [
        ("policy", _component(run.setting("policy"))),
        ("model", _component(run.setting("model"))),
        ("data", _component(run.setting("data.source"))),
        ("seed", str(run.setting("seed", ""))),
        ("started", str(run.environments[0].get("started", "")) if run.environments else ""),
        ("state", run.status.state if run.status is not None else "unknown"),
        ("folder", run.dir.name),
    ]
    return [(label, text) for label, text in details if text]


def _component(section: Any) -> str:
    return str(section.get("name", "")) if isinstance(section, Mapping) else ""
