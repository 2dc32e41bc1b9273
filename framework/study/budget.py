"""What each arm was allowed to try, in sentences, and where that was too little."""

from __future__ import annotations

from collections.abc import Sequence

from framework.study.arms import Arm
from framework.study.grid import Choice, Grid
from framework.study.plan import Plan

#: fewer values have no middle that could have been chosen
_LEAST = 3


def budget(grid: Grid, tune_seeds: Sequence[int], arms: Sequence[Arm]) -> list[str]:
    """The candidates and what was chosen; then, for each tuned key, the arms that chose its end.

    Args:
        grid: what was run.
        tune_seeds: the seeds on which candidates were compared.
        arms: what came of it.
    """
    if not grid.tuned:
        return ["Nothing was tuned: each arm has one setting, that of the run file and the command line."]
    seeds = f"seed{'s' if len(tune_seeds) > 1 else ''} {', '.join(map(str, tune_seeds))}"
    names = {arm.chosen or "none" for arm in arms}
    chosen = "; ".join(f"{arm.name}: {arm.chosen or 'none'}" for arm in arms)
    if len(arms) > 1 and len(names) == 1:
        chosen = f"{names.pop()} by all arms"
    first = (
        f"Each arm had the same budget: {grid.num_candidates} candidates on {seeds}; the best on validation"
        f" was run on all seeds. Chosen: {chosen}."
    )
    return [first, *_at_the_end(grid, arms)]


def recipes(plan: Plan) -> list[str]:
    """What the arms that are recipes run for each seed."""
    lines = []
    for arm in plan.grid.arms:
        recipe = plan.recipes.get((arm, arm.candidates[0]))
        if recipe is not None:
            phases = list(recipe.config.phases)
            lines.append(
                f"{arm.name} takes {len(phases)} runs for each seed and candidate ({', '.join(phases)}): its"
                " numbers are those of the last one, its time that of all, without what is made between them."
            )
    return lines


def _at_the_end(grid: Grid, arms: Sequence[Arm]) -> list[str]:
    """For each key, in the order of the arms, who chose the smallest or the largest value."""
    found: dict[tuple[str, str, float], list[str]] = {}
    for side, arm in zip(grid.arms, arms, strict=True):
        chosen = next((candidate for candidate in side.candidates if candidate.name == arm.chosen), None)
        if chosen is None:
            continue
        for key in (word.partition("=")[0] for word in chosen.overrides):
            tried = [_number(candidate, key) for candidate in side.candidates]
            values = sorted({value for value in tried if value is not None})
            if None in tried or len(values) < _LEAST:
                continue
            for end, word in ((values[0], "smallest"), (values[-1], "largest")):
                if _number(chosen, key) == end:
                    found.setdefault((key, word, end), []).append(arm.name)
    return [
        f"The {word} {key} that was tried, {end:g}, was the best for"
        f" {'all arms' if 1 < len(names) == len(arms) else ', '.join(names)}: a wider list could change the"
        " comparison."
        for (key, word, end), names in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _number(candidate: Choice, key: str) -> float | None:
    value = dict(word.split("=", 1) for word in candidate.overrides)[key]
    try:
        return float(value)
    except ValueError:
        return None
