"""Whether one arm is better than another: intervals, tests, and how many seeds a difference would need."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

#: largest p-value that is called significant, and one minus the coverage of intervals
ALPHA = 0.05
#: probability with which a difference as large as the one seen is to be found
POWER = 0.8
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Difference:
    """An arm against the first one, positive where the arm has the larger values.

    Attributes:
        n: pairs, or for unpaired samples the runs of both arms together.
        paired: whether runs of equal seeds were subtracted from each other.
        mean: the mean difference.
        std: standard deviation of the paired differences, None for unpaired samples or one pair.
        low: lower end of the 95 % confidence interval of `mean` (Student's t), None where none can be given.
        high: its upper end.
        t_p: two-sided p-value of the paired t-test, or of Welch's test for unpaired samples.
        wilcoxon_p: two-sided p-value of the signed-rank test on the pairs that differ; None if unpaired.
        wilcoxon_min_p: the smallest p-value which that many pairs can give.
    """

    n: int
    paired: bool
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    t_p: float | None = None
    wilcoxon_p: float | None = None
    wilcoxon_min_p: float | None = None


def paired(values: Sequence[float], base: Sequence[float]) -> Difference:
    """`values` against `base`, the i-th run of one with the i-th of the other.

    With one pair there is a difference and nothing else. Where every pair differs by the same amount the
    differences have no spread: the t-test is not defined and gives no p-value, unless that amount is 0.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(base, dtype=float)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Difference(n, True, mean)
    std = float(differences.std(ddof=1))
    wilcoxon_p, least = _wilcoxon(differences)
    # Equal differences of floats have a spread of rounding errors, from which any p-value could come.
    if std <= 1e-12 * max(float(np.abs(values).max()), float(np.abs(base).max())):
        t_p = 1.0 if not differences.any() else None
        return Difference(n, True, mean, 0.0, None, None, t_p, wilcoxon_p, least)
    tested = _stats().ttest_1samp(differences, 0.0)
    interval = tested.confidence_interval(1 - ALPHA)
    return Difference(
        n,
        True,
        mean,
        std,
        float(interval.low),
        float(interval.high),
        float(tested.pvalue),
        wilcoxon_p,
        least,
    )


def unpaired(values: Sequence[float], base: Sequence[float]) -> Difference:
    """`values` against `base` where no run of one belongs to a run of the other (Welch's t-test)."""
    mean = float(np.mean(values)) - float(np.mean(base))
    n = len(values) + len(base)
    spread = min(len(values), len(base)) >= 2 and (np.ptp(values) > 0 or np.ptp(base) > 0)
    if not spread:
        return Difference(n, False, mean)
    tested = _stats().ttest_ind(values, base, equal_var=False)
    interval = tested.confidence_interval(1 - ALPHA)
    return Difference(n, False, mean, None, float(interval.low), float(interval.high), float(tested.pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values adjusted for how many there are (Holm 1979, step down); a None is no test and stays.

    Rejecting where an adjusted value is at most alpha keeps the probability of any false rejection at alpha.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted


def power(mean: float, std: float, n: int, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired t-test of `n` seeds finds a true difference of `mean`.

    `std` is the standard deviation of the paired differences; the statistic is noncentral t.
    """
    critical = _stats().t.isf(alpha / 2, n - 1)
    shift = math.sqrt(n) * abs(mean) / std
    upper = _stats().nct.sf(critical, n - 1, shift)
    lower = _stats().nct.cdf(-critical, n - 1, shift)
    # Far in its tail SciPy's noncentral t gives NaN for what is 0.
    return float(np.nan_to_num(upper) + np.nan_to_num(lower))


def seeds_needed(mean: float, std: float, alpha: float = ALPHA, most: int = MAX_SEEDS) -> int | None:
    """The fewest seeds with which a paired t-test finds such a difference with probability `POWER`.

    None if `most` are too few, as they always are for a difference of 0.
    """
    if mean == 0:
        return None
    if std == 0:
        return 2
    low, high = 1, 2
    while high < most and power(mean, std, high, alpha) < POWER:
        low, high = high, min(2 * high, most)
    if power(mean, std, high, alpha) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(mean, std, middle, alpha) < POWER:
            low = middle
        else:
            high = middle
    return high


def _wilcoxon(differences: np.ndarray) -> tuple[float | None, float | None]:
    """p-value on the pairs that differ, exact for few; and the smallest that so many can give."""
    largest = float(np.abs(differences).max())
    if largest == 0:
        return 1.0, 1.0
    # Differences of shares that are equal on paper must be equal in rank too.
    moved = np.round(differences / largest, 12)
    moved = moved[moved != 0]
    least = 2.0 ** (1 - len(moved))
    return float(_stats().wilcoxon(moved, method="auto").pvalue), least


@cache
def _stats() -> Any:
    """SciPy's tests; importing them takes longer than to compose a comparison, which may only be shown."""
    return importlib.import_module("scipy.stats")
