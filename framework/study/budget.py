"""What each arm was allowed to try, in sentences, and where that was too little."""

from __future__ import annotations

from collections.abc import Sequence

from framework.study.arms import Arm
from framework.study.grid import Choice, Grid

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
        f"Each arm had the same budget: {len(grid.candidates)} candidates on {seeds}; the best on validation"
        f" was run on all seeds. Chosen: {chosen}."
    )
    return [first, *_at_the_end(grid, arms)]


def _at_the_end(grid: Grid, arms: Sequence[Arm]) -> list[str]:
    chosen = {candidate.name: candidate for candidate in grid.candidates}
    lines = []
    for key in (word.partition("=")[0] for word in grid.candidates[0].overrides):
        tried = [_number(candidate, key) for candidate in grid.candidates]
        values = sorted({value for value in tried if value is not None})
        if None in tried or len(values) < _LEAST:
            continue
        for end, word in ((values[0], "smallest"), (values[-1], "largest")):
            names = [a.name for a in arms if a.chosen and _number(chosen[a.chosen], key) == end]
            if names:
                who = "all arms" if len(names) == len(arms) else ", ".join(names)
                lines.append(
                    f"The {word} {key} that was tried, {end:g}, was the best for {who}: a wider list could"
                    " change the comparison."
                )
    return lines


def _number(candidate: Choice, key: str) -> float | None:
    value = dict(word.split("=", 1) for word in candidate.overrides)[key]
    try:
        return float(value)
    except ValueError:
        return None
