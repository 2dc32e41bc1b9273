"""The answer a run gives, in plain words computed from its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from framework.reporting.lines import judged_by
from framework.reporting.report.doubts import doubts
from framework.reporting.report.measures import Record, group_named, interval, is_number, said, spoken
from framework.reporting.report.read import RunFiles

_STATES = {
    "running": "This run has not ended (or was killed)",
    "interrupted": "This run was interrupted and can be continued",
    "failed": "This run failed",
}


@dataclass(frozen=True)
class Verdict:
    """What a run says.

    Attributes:
        answer: a paragraph.
        remarks: what a reader should know before believing it, one sentence or two each.
        notice: why the numbers are preliminary, empty if they are not.
    """

    answer: str
    remarks: tuple[str, ...]
    notice: str


def verdict(run: RunFiles) -> Verdict:
    """Judge the run by its evaluation at the selected checkpoint, else by its newest evaluation."""
    return Verdict(_answer(run), tuple(doubts(run)), _notice(run))


def _notice(run: RunFiles) -> str:
    if run.status is None:
        return "This folder does not say how the run stands."
    state = _STATES.get(run.status.state)
    if state is None:
        return ""
    reason = f" ({run.status.reason})" if run.status.reason else ""
    return f"{state}{reason}, at step {run.status.step:,}: the numbers are preliminary."


def _answer(run: RunFiles) -> str:
    record = run.judged
    measure = judged_by(record) if record is not None else None
    if record is None or measure is None:
        trained = run.of("train")
        if not trained:
            return "Nothing was measured yet."
        return (
            f"Nothing was evaluated yet; the training loss at step {trained[-1]['step']:,}"
            f" is {said(trained[-1].get('loss'))}."
        )
    return " ".join([_level(run, record, measure), _selected(run), _stopped(run)]).strip()


def _level(run: RunFiles, record: Record, measure: str) -> str:
    average, worst = record.get(measure), record.get(f"worst_group_{measure}")
    name = record.get("worst_group")
    split = record.get("split", "evaluation")
    text = f"On {split}, {spoken(measure)} is {said(average)} overall"
    if len(record.get("groups", ())) < 2 or worst is None:
        return text + "."
    group = group_named(record, name)
    bounds = interval(group, measure)
    sure = f", 95 % interval {bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else ""
    text += f" and {said(worst)} in the worst group, {name} ({group.get('count', 0):,} samples{sure})"
    if is_number(average) and is_number(worst):
        text += f": a gap of {said(abs(average - worst))}"
    return text + "."


def _selected(run: RunFiles) -> str:
    step, last = run.selected_step, run.of("train")
    if step is None:
        return "No checkpoint was selected."
    metric, split = run.setting("select.metric", ""), run.setting("select.split", "validation")
    of = f" of {last[-1]['step']:,}" if last else ""
    best = next((r.get(metric) for r in run.evaluations(split) if r.get("step") == step), None)
    value = f", {said(best)}" if best is not None else ""
    return f"The checkpoint of step {step:,}{of} was selected by {spoken(metric)} on {split}{value}."


def _stopped(run: RunFiles) -> str:
    if run.status is None or run.status.state != "stopped":
        return ""
    patience = run.setting("select.patience")
    return f"Training stopped early, after {patience} evaluations without improvement."
