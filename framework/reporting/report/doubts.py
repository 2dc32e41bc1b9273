"""What casts doubt on the numbers of a run: checks of its records, each a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from framework.reporting.lines import judged_by
from framework.reporting.report.measures import Record, group_named, interval, is_number, said, spoken
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


def doubts(run: RunFiles) -> Iterator[str]:
    """What a reader should know before believing the run; nothing if no check found anything."""
    for check in _CHECKS:
        yield from check(run)


def _few_samples(run: RunFiles) -> Iterator[str]:
    record = run.judged
    measure = judged_by(record) if record is not None else None
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
    record = run.judged
    measure = judged_by(record) if record is not None else None
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
    if len(measured) >= 3 and run.selected_step == measured[0]["step"]:
        yield f"The first evaluation was the best one by {spoken(metric)}: training did not improve it."
    final, chosen = run.final(), run.final(split)
    measure = judged_by(final) if final is not None else None
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


#: in the order in which they are told
_CHECKS = (
    _few_samples,
    _not_finite,
    _overfits,
    _rises,
    _selection,
    _policy,
    _calibration,
    _skipped,
    _left_out,
)
