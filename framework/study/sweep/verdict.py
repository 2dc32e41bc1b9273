"""What a sweep found, in sentences: the best setting, and what casts doubt on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev

from framework.reporting.text import number
from framework.study.sweep.candidate import Candidate, ranked
from framework.study.sweep.plan import SweepPlan
from framework.study.sweep.space import Choices, Parameter, Value

#: so near an end of its range, as a share of it, a value counts as at the end
_EDGE = 0.05
#: standard errors of a difference within which two settings cannot be told apart
_NOISE = 2.0


def verdicts(
    plan: SweepPlan, candidates: Sequence[Candidate], tests: Mapping[str, Mapping[int, float]]
) -> list[str]:
    """The answer first.

    Args:
        plan: the sweep.
        candidates: all trials.
        tests: split -> seed -> value of the metric, of the best trial.
    """
    order = ranked(candidates, maximize=plan.maximize)
    if not order:
        return ["No trial came to its end."]
    best = order[0]
    settings = ", ".join(f"{key}={shown(value)}" for key, value in best.parameters.items())
    lines = [
        f"Trial {best.number} is the best of {len(candidates)}: {plan.metric} {_mean(best.by_seed.values())}"
        f" on {plan.split}, with {settings}."
    ]
    lines += [
        f"On {split}, which no trial was chosen by, it has {plan.metric} {_mean(values.values())}."
        for split, values in tests.items()
        if values
    ]
    lines += [sentence for parameter in plan.space if (sentence := _edge(parameter, best.parameters))]
    lines.append(noise(order, len(plan.seeds)))
    return lines


def shown(value: Value) -> str:
    """A value in a sentence or table: four digits are enough there."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean(values: Collection[float]) -> str:
    known = list(values)
    spread = f" ± {number(stdev(known))} over {len(known)} seeds" if len(known) > 1 else ""
    return f"{number(fmean(known))}{spread}"


def _edge(parameter: Parameter, parameters: Mapping[str, Value]) -> str:
    value = parameters[parameter.key]
    if isinstance(parameter, Choices):
        place = _place_of_number(parameter, value)
    else:
        assert not isinstance(value, str)
        place = parameter.place(value)
    if place is None or _EDGE < place < 1 - _EDGE:
        return ""
    end = "lower" if place <= _EDGE else "upper"
    return (
        f"{parameter.key}={shown(value)} is at the {end} end of {parameter}: the best value may lie beyond;"
        " extend the range."
    )


def _place_of_number(parameter: Choices, value: Value) -> float | None:
    """0 or 1 for the smallest and largest of three numbers or more; None where choices have no order."""
    try:
        numbers = sorted(map(float, parameter.values))
    except ValueError:
        return None
    return numbers.index(float(value)) / (len(numbers) - 1) if len(numbers) > 2 else None


def noise(order: Sequence[Candidate], num_seeds: int) -> str:
    """How far the order of the best trials can be trusted."""
    if num_seeds == 1:
        ties = sum(each.value == order[0].value for each in order[1:])
        if ties:
            return f"{ties} other trial{'s have' if ties > 1 else ' has'} the same value; the first is taken."
        return (
            "Each setting was run with one seed, so that a small lead may be chance: seeds=3 would tell, or"
            " `compare` of the best ones."
        )
    best, *others = order
    if not others:
        return "There is no other complete trial to compare it with."
    variances = [stdev(each.by_seed.values()) ** 2 for each in order]
    spread = math.sqrt(fmean(variances))
    error = spread * math.sqrt(2 / num_seeds)
    assert best.value is not None
    alike = [each for each in others if abs((each.value or 0.0) - best.value) <= _NOISE * error]
    if not alike:
        lead = number(abs(best.value - (others[0].value or 0.0)))
        return (
            f"The lead over the next trial, {lead}, is more than the noise of seeds (standard deviation"
            f" {number(spread)})."
        )
    named = ", ".join(str(each.number) for each in alike[:5]) + (" and more" if len(alike) > 5 else "")
    return (
        f"{len(alike)} of the other trials ({named}) are within the noise of seeds of the best one (standard"
        f" deviation {number(spread)}, {num_seeds} seeds): which of these is best is chance."
    )
