"""How loss, the measures and the step went over time."""

from __future__ import annotations

import math

from framework.reporting.lines import judged_by
from framework.reporting.report.blocks import Block, Section
from framework.reporting.report.measures import is_number, larger_is_better
from framework.reporting.report.plots import Mark, Points, line_plot
from framework.reporting.report.read import RunFiles
from framework.reporting.text import number

#: groups that are drawn as curves; of more, the worst at the end
_MAX_GROUPS = 12


def section(run: RunFiles) -> Section | None:
    """Loss, measure with worst group, each group, learning rate and gradient norm."""
    blocks = [block for make in (_loss, _measure, _groups, _rate, _gradient) for block in make(run)]
    return Section("curves", "Curves", blocks) if blocks else None


def _loss(run: RunFiles) -> list[Block]:
    curves: dict[str, Points] = {"training": [(r["step"], r.get("loss")) for r in run.of("train")]}
    objective = [(r["step"], r.get("objective")) for r in run.of("train")]
    if any(a != b for a, b in zip(objective, curves["training"], strict=True)):
        curves["training, weighted objective"] = objective
    for split in run.splits():
        curves[split] = [(r["step"], r.get("loss")) for r in run.evaluations(split)]
    curves = {name: points for name, points in curves.items() if any(is_number(y) for _, y in points)}
    if not curves:
        return []
    ends = ", ".join(f"{name} {number(points[-1][1])}" for name, points in curves.items())
    return [line_plot("Loss", f"At the end: {ends}.", curves, x="step", y="loss", mark=_mark(run))]


def _measure(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    for split in run.splits():
        records = run.evaluations(split)
        measure = judged_by(records[-1])
        if measure is None:
            continue
        keys = {
            "overall": measure,
            "group average": f"group_average_{measure}",
            "worst group": f"worst_group_{measure}",
        }
        curves: dict[str, Points] = {
            name: [(r["step"], r.get(key)) for r in records] for name, key in keys.items()
        }
        ends = ", ".join(f"{name} {number(points[-1][1])}" for name, points in curves.items())
        title = f"{measure.capitalize()} on {split}"
        blocks.append(
            line_plot(title, f"At the last evaluation: {ends}.", curves, x="step", y=measure, mark=_mark(run))
        )
    return blocks


def _groups(run: RunFiles) -> list[Block]:
    blocks: list[Block] = []
    for split in run.splits():
        records = run.evaluations(split)
        measure = judged_by(records[-1])
        names = [group["name"] for group in records[-1].get("groups", ())]
        if measure is None or len(names) < 2:
            continue
        curves: dict[str, list[tuple[float, float | None]]] = {name: [] for name in names}
        for record in records:
            for group in record.get("groups", ()):
                if group["name"] in curves:
                    curves[group["name"]].append((record["step"], group.get(measure)))
        shown = names if len(names) <= _MAX_GROUPS else _worst(curves, measure)
        left_out = (
            "" if len(shown) == len(names) else f" The {len(shown)} worst of {len(names)} groups are drawn."
        )
        alt = f"One curve per group over {len(records)} evaluations.{left_out}"
        title = f"{measure.capitalize()} per group on {split}"
        blocks.append(
            line_plot(
                title,
                alt,
                {name: curves[name] for name in shown},
                x="step",
                y=measure,
                wide=True,
                mark=_mark(run),
            )
        )
    return blocks


def _worst(curves: dict[str, list[tuple[float, float | None]]], measure: str) -> list[str]:
    def badness(name: str) -> float:
        value = curves[name][-1][1] if curves[name] else None
        if value is None:
            return -math.inf
        if not is_number(value):
            return math.inf
        return -value if larger_is_better(measure) else value

    return sorted(curves, key=badness, reverse=True)[:_MAX_GROUPS]


def _rate(run: RunFiles) -> list[Block]:
    points = [(r["step"], r.get("lr")) for r in run.of("train")]
    if not any(is_number(y) for _, y in points):
        return []
    alt = f"From {number(points[0][1])} to {number(points[-1][1])}."
    return [
        line_plot(
            "Learning rate", alt, {"learning rate": points}, x="step", y="learning rate", from_zero=True
        )
    ]


def _gradient(run: RunFiles) -> list[Block]:
    points = [(r["step"], r["gradient_norm"]) for r in run.of("train") if "gradient_norm" in r]
    values = [y for _, y in points if is_number(y)]
    if not values:
        return []
    alt = f"Between {number(min(values))} and {number(max(values))}, before clipping."
    # A logarithm needs positive numbers.
    return [
        line_plot(
            "Gradient norm", alt, {"gradient norm": points}, x="step", y="norm", logarithmic=min(values) > 0
        )
    ]


def _mark(run: RunFiles) -> Mark | None:
    return None if run.selected_step is None else (run.selected_step, "selected")
