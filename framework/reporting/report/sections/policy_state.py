"""How the policy's state moved: `q`, `pi` or whatever it reports."""

from __future__ import annotations

from framework.reporting.report.blocks import Block, Section
from framework.reporting.report.measures import is_number
from framework.reporting.report.plots import Points, line_plot
from framework.reporting.report.read import RunFiles
from framework.reporting.text import number

_POSITION = frozenset({"event", "step", "epoch"})
_MAX_GROUPS = 12


def section(run: RunFiles) -> Section | None:
    """A plot per number of the policy; None for a policy without state."""
    records = run.of("policy")
    names = dict.fromkeys(name for record in records for name in record if name not in _POSITION)
    blocks: list[Block] = []
    scalars: dict[str, Points] = {}
    for name in names:
        values = [(r["step"], r[name]) for r in records if name in r]
        last = values[-1][1]
        if isinstance(last, dict) and name.endswith("_summary"):
            blocks += _summary(name.removesuffix("_summary"), values)
        elif isinstance(last, dict):
            blocks.append(_per_group(name, values))
        elif is_number(last):
            scalars[name] = values
    for name, points in scalars.items():
        alt = f"From {number(points[0][1])} to {number(points[-1][1])}."
        blocks.append(line_plot(name, alt, {name: points}, x="step", y=name))
    return Section("policy", "Policy state", blocks) if blocks else None


def _per_group(name: str, values: list[tuple[int, dict[str, float]]]) -> Block:
    last = values[-1][1]
    ranked = sorted(last, key=lambda group: -last[group] if is_number(last[group]) else 0.0)
    shown = [group for group in last if group in ranked[:_MAX_GROUPS]]
    curves: dict[str, Points] = {
        group: [(step, state.get(group)) for step, state in values] for group in shown
    }
    left_out = (
        f" The {_MAX_GROUPS} largest of {len(last)} groups are drawn." if len(shown) < len(last) else ""
    )
    alt = f"At the end {name} is largest for {ranked[0]}, {number(last[ranked[0]])}.{left_out}"
    return line_plot(f"{name} per group", alt, curves, x="step", y=name, wide=True)


def _summary(name: str, values: list[tuple[int, dict[str, float]]]) -> list[Block]:
    ends: dict[str, Points] = {
        end: [(step, state.get(end)) for step, state in values] for end in ("min", "max")
    }
    entropy: dict[str, Points] = {"entropy": [(step, state.get("entropy")) for step, state in values]}
    groups = f"{values[-1][1].get('groups', 0):,}"
    return [
        line_plot(
            f"{name}: smallest and largest of {groups} groups",
            f"At the end from {number(ends['min'][-1][1])} to {number(ends['max'][-1][1])}.",
            ends,
            x="step",
            y=name,
        ),
        line_plot(
            f"{name}: entropy over {groups} groups",
            f"At the end {number(entropy['entropy'][-1][1])} nats; even weights have the largest entropy.",
            entropy,
            x="step",
            y="nats",
        ),
    ]
