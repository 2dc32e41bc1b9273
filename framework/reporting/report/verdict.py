"""The answer a run gives, in plain words computed from its numbers, and what casts doubt on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from framework.reporting.report.measures import (
    Record,
    group_named,
    interval,
    is_number,
    measure_of,
    said,
    spoken,
)
from framework.reporting.report.read import RunFiles

#: below this many samples a group's interval is so wide that it must be said
FEW_SAMPLES = 30
#: validation loss over training loss, and over its own smallest value, from which a reader is told
_GAP_RATIO, _RISE_RATIO = 1.5, 1.2
#: share of a batch's size that the effective sample size should not fall below
_SMALL_SAMPLE_SHARE = 0.1
#: calibration error worth a remark
_LARGE_ECE = 0.1
#: largest share of the policy's state that one group of several may hold without a remark
_LARGE_SHARE = 0.9

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
    remarks = (
        *_few_samples(run),
        *_not_finite(run),
        *_overfits(run),
        *_rises(run),
        *_selection(run),
        *_policy(run),
        *_calibration(run),
        *_skipped(run),
        *_left_out(run),
    )
    return Verdict(_answer(run), remarks, _notice(run))


def judged(run: RunFiles) -> Record | None:
    """The evaluation that the verdict is about."""
    split = run.setting("select.split", "validation")
    newest = run.evaluations(split) or run.of("evaluation")
    return run.final() or (newest[-1] if newest else None)


def selected_step(run: RunFiles) -> int | None:
    """The step of the selected checkpoint so far."""
    final = run.final()
    if final is not None:
        return int(final["selected_step"])
    best = [record["step"] for record in run.of("evaluation") if record.get("best")]
    return int(best[-1]) if best else None


def _notice(run: RunFiles) -> str:
    if run.status is None:
        return "This folder does not say how the run stands."
    state = _STATES.get(run.status.state)
    if state is None:
        return ""
    reason = f" ({run.status.reason})" if run.status.reason else ""
    return f"{state}{reason}, at step {run.status.step:,}: the numbers are preliminary."


def _answer(run: RunFiles) -> str:
    record = judged(run)
    measure = measure_of(record) if record is not None else None
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
    step, last = selected_step(run), run.of("train")
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


def _few_samples(run: RunFiles) -> Iterator[str]:
    record = judged(run)
    measure = measure_of(record) if record is not None else None
    if record is None or measure is None:
        return
    group = group_named(record, record.get("worst_group"))
    count, bounds = group.get("count") or 0, interval(group, measure)
    if 0 < count < FEW_SAMPLES and len(record.get("groups", ())) > 1:
        wide = (
            f": its true {measure} may lie anywhere from {bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else ""
        )
        yield f"The worst group has only {count} samples on {record.get('split')}{wide}."
    small = [g["name"] for g in record["groups"] if 0 < (g["count"] or 0) < FEW_SAMPLES]
    small = [name for name in small if name != record.get("worst_group")]
    if small:
        yield (
            f"{len(small)} more group{'s have' if len(small) > 1 else ' has'} fewer than {FEW_SAMPLES}"
            f" samples: {_listed(small)}."
        )
    untrained = [g["name"] for g in record["groups"] if g.get("train_count") == 0 and g["count"]]
    if untrained:
        yield f"Training has no sample of {_listed(untrained)}."


def _not_finite(run: RunFiles) -> Iterator[str]:
    record = judged(run)
    measure = measure_of(record) if record is not None else None
    if record is not None and measure is not None and not is_number(record.get(measure)):
        yield f"The {measure} is {record.get(measure)}: the model's outputs are not finite."
    lost = [r["step"] for r in run.of("train") if not is_number(r.get("loss"))]
    if lost:
        yield f"The training loss is not finite from step {lost[0]:,} on ({len(lost)} records)."


def _losses(run: RunFiles, split: str) -> list[tuple[int, float]]:
    return [
        (r["step"], r["loss"]) for r in run.evaluations(split) if "step" in r and is_number(r.get("loss"))
    ]


def _overfits(run: RunFiles) -> Iterator[str]:
    split = run.setting("select.split", "validation")
    losses = _losses(run, split)
    training = [r["loss"] for r in run.of("train") if is_number(r.get("loss"))]
    if not losses or not training:
        return
    # The last tenth of training: one record is one handful of batches, and noisy.
    tail = training[-max(1, len(training) // 10) :]
    trained, (_, last) = sum(tail) / len(tail), losses[-1]
    if trained > 0 and last > _GAP_RATIO * trained:
        yield (
            f"At the end the {split} loss ({said(last)}) is {last / trained:.1f} times the training loss"
            f" ({said(trained)}): the model fits its training samples better than new ones."
        )


def _rises(run: RunFiles) -> Iterator[str]:
    split = run.setting("select.split", "validation")
    losses = _losses(run, split)
    if not losses:
        return
    (lowest_step, lowest), (_, last) = min(losses, key=lambda pair: pair[1]), losses[-1]
    if lowest > 0 and last > _RISE_RATIO * lowest:
        yield (
            f"The {split} loss was lowest at step {lowest_step:,} ({said(lowest)}) and rose to"
            f" {said(last)} afterwards."
        )


def _selection(run: RunFiles) -> Iterator[str]:
    split, metric = run.setting("select.split", "validation"), run.setting("select.metric", "")
    measured = [r for r in run.evaluations(split) if "best" in r]
    if len(measured) >= 3 and measured[-1]["best"] and run.status is not None and run.status.complete:
        yield "The last evaluation was the best one: longer training may still help."
    if len(measured) >= 3 and selected_step(run) == measured[0]["step"]:
        yield f"The first evaluation was the best one by {spoken(metric)}: training did not improve it."
    final, chosen = run.final(), run.final(split)
    measure = measure_of(final) if final is not None else None
    if final is None or chosen is None or final is chosen or measure is None:
        return
    here = group_named(final, final.get("worst_group"))
    there = group_named(chosen, final.get("worst_group"))
    low_high, value = interval(there, measure), here.get(measure)
    if low_high is not None and value is not None and value < low_high[0]:
        yield (
            f"Group {final.get('worst_group')} has {said(there[measure])} on {split}, by which the"
            f" checkpoint was selected, and {said(value)} on {final.get('split')}, which lies outside the"
            " former's 95 % interval: selection was optimistic."
        )


def _policy(run: RunFiles) -> Iterator[str]:
    states = run.of("policy")
    for name, values in _shares(states[-1]) if states else ():
        largest = max(values, key=lambda group: values[group])
        if len(values) > 1 and values[largest] > _LARGE_SHARE:
            yield (
                f"The policy ended with {name} = {said(values[largest])} on group {largest}:"
                " it nearly trains on this group alone."
            )
    size = run.setting("batch.size")
    sizes = [r["effective_sample_size"] for r in run.of("train") if is_number(r.get("effective_sample_size"))]
    if sizes and isinstance(size, int) and min(sizes) < _SMALL_SAMPLE_SHARE * size:
        yield (
            f"The effective sample size of a batch of {size} fell to {min(sizes):.1f}:"
            " few samples carry most of the weight, and gradients are noisy."
        )


def _shares(record: Record) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Parts of a policy record that are distributions over groups."""
    for name, values in record.items():
        if not isinstance(values, dict) or not values or not all(map(is_number, values.values())):
            continue
        if abs(sum(values.values()) - 1) < 1e-3:
            yield name, values


def _calibration(run: RunFiles) -> Iterator[str]:
    final = run.final()
    if final is not None and is_number(final.get("ece")) and final["ece"] > _LARGE_ECE:
        bins = final.get("statistics", {}).get("calibration")
        way = "miscalibrated"
        if bins:
            way = "too sure of itself" if sum(bins[1]) > sum(bins[2]) else "not sure enough of itself"
        yield (
            f"The calibration error (ECE) on {final.get('split')} is {said(final['ece'])}:"
            f" the model is {way}."
        )


def _skipped(run: RunFiles) -> Iterator[str]:
    skipped = run.of("skip")
    if skipped:
        yield (
            f"{len(skipped)} step{'s were' if len(skipped) > 1 else ' was'} skipped because losses or"
            f" gradients were not finite, the first at step {skipped[0]['step']:,}."
        )


def _listed(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more


def _left_out(run: RunFiles) -> Iterator[str]:
    faults = run.of("quarantine")
    if not faults:
        return
    parts = [
        f"{sum(int(f['samples']) for f in faults if f['split'] == split):,} of {split}"
        for split in dict.fromkeys(str(fault["split"]) for fault in faults)
    ]
    named = "; ".join(f"{fault['name']}: {fault['reason']}" for fault in faults[:3])
    more = f"; and {len(faults) - 3} more, in metrics.jsonl" if len(faults) > 3 else ""
    yield f"Samples that could not be read were left out, {', '.join(parts)}: {named}{more}."
