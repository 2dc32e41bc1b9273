"""The statistics against SciPy, sums by hand, enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from framework.study.significance import ALPHA, holm, paired, power, seeds_needed, unpaired

BASE = [0.61, 0.58, 0.66, 0.55, 0.63, 0.60, 0.57]
BETTER = [0.64, 0.60, 0.65, 0.61, 0.68, 0.61, 0.62]


def test_a_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3, 4: mean 2.5, standard deviation sqrt(5/3), t = 2.5 / (s / 2) on 3 degrees."""
    found = paired([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    std = math.sqrt(5 / 3)
    assert (found.n, found.mean) == (4, 2.5)
    assert found.std == pytest.approx(std)
    half = 3.182446305 * std / 2  # the 97.5 % point of t with 3 degrees of freedom, from a table
    assert found.low == pytest.approx(2.5 - half)
    assert found.high == pytest.approx(2.5 + half)
    assert found.wilcoxon_p == 0.125  # all signs equal: 2 of 16 assignments
    assert found.wilcoxon_min_p == 0.125


def test_p_values_are_those_of_scipy() -> None:
    found = paired(BETTER, BASE)
    assert found.t_p == pytest.approx(stats.ttest_rel(BETTER, BASE).pvalue)
    assert unpaired(BETTER, BASE).t_p == pytest.approx(stats.ttest_ind(BETTER, BASE, equal_var=False).pvalue)
    assert not unpaired(BETTER, BASE).paired


@pytest.mark.parametrize(
    "differences",
    [[1, 2, -3, 4, 5, 6], [1, 1, 1, -1, 2, 2], [0, 0, 1, -2, 3, 3, 3], [0.1 + 0.2, 0.3, -0.3, 0.5, 1, 2]],
)
def test_the_signed_rank_test_counts_all_signs(differences: list[float]) -> None:
    moved = np.round([d for d in differences if d], 9)
    ranks = stats.rankdata(np.abs(moved))
    seen = abs((ranks * np.sign(moved)).sum())
    signs = itertools.product([-1, 1], repeat=len(moved))
    as_extreme = [abs((ranks * sign).sum()) >= seen - 1e-9 for sign in signs]
    found = paired(differences, [0.0] * len(differences))
    assert found.wilcoxon_p == pytest.approx(np.mean(as_extreme))
    assert found.wilcoxon_min_p == 2 / 2 ** len(moved)


def test_what_cannot_be_tested_has_no_p_value() -> None:
    one = paired([0.5], [0.25])
    assert (one.mean, one.t_p, one.low, one.wilcoxon_p) == (0.25, None, None, None)
    equal = paired(BASE, BASE)
    assert (equal.mean, equal.t_p, equal.wilcoxon_p, equal.wilcoxon_min_p) == (0.0, 1.0, 1.0, 1.0)
    shifted = paired([value + 0.1 for value in BASE], BASE)
    assert shifted.mean == pytest.approx(0.1)
    assert (shifted.std, shifted.t_p, shifted.low) == (0.0, None, None)
    assert unpaired([0.5], [0.25, 0.3]).t_p is None


def test_five_pairs_cannot_convince_the_signed_rank_test() -> None:
    assert paired([1.0, 2, 3, 4, 5], [0.0] * 5).wilcoxon_p == 0.0625 > ALPHA


def test_holm_by_hand() -> None:
    """0.01 x 4; 0.02 x 3; 0.03 x 2 = 0.06; 0.9 x 1; what is no test is not counted."""
    assert holm([0.03, 0.01, None, 0.02, 0.9]) == pytest.approx([0.06, 0.04, None, 0.06, 0.9])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([None]) == [None]


def test_power_against_simulation() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0.5, 1.0, size=(8000, 20))
    found = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue <= ALPHA)
    assert power(0.5, 1.0, 20) == pytest.approx(found, abs=0.015)
    # without a difference the power is the false positive rate
    assert power(0.0, 1.0, 20) == pytest.approx(ALPHA)


def test_seeds_needed_is_the_first_number_that_is_enough() -> None:
    # Cohen (1988), table 2.4.1 in its paired form: d = 0.5 needs 34 pairs
    assert seeds_needed(0.5, 1.0) == 34
    for mean in (-3.0, 0.2, 0.8):
        needed = seeds_needed(mean, 1.0)
        assert needed is not None
        assert power(mean, 1.0, needed) >= 0.8 > (power(mean, 1.0, needed - 1) if needed > 2 else 0)
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.01, 1.0) is None
    assert seeds_needed(0.1, 0.0) == 2


def test_interval_and_false_positives_hold_in_simulation() -> None:
    """800 studies of 6 seeds: 95 % of the intervals hold the truth, 5 % of the null tests reject."""
    generator = np.random.default_rng(1)
    base = generator.normal(0.6, 0.05, size=(800, 6))
    noise = generator.normal(0.0, 0.03, size=base.shape)
    covered = rejected = ranked = 0
    for row, other in zip(base, base + noise, strict=True):
        found = paired(other, row)
        assert found.low is not None
        assert found.high is not None
        assert found.t_p is not None
        covered += found.low <= 0.0 <= found.high
        rejected += found.t_p <= ALPHA
        ranked += (found.wilcoxon_p or 0) <= ALPHA
    assert covered / 800 == pytest.approx(0.95, abs=0.025)
    assert rejected == 800 - covered
    assert ranked / 800 == pytest.approx(0.03125, abs=0.02)  # 2 of 64 assignments


def test_holm_keeps_the_error_of_a_family() -> None:
    """Four arms that do not differ from the first: at most 5 % of studies find any difference."""
    generator = np.random.default_rng(2)
    found = 0
    for _ in range(400):
        base = generator.normal(size=8)
        adjusted = holm([paired(generator.normal(size=8), base).t_p for _ in range(4)])
        found += any(p is not None and p <= ALPHA for p in adjusted)
    assert found / 400 <= 0.05 + 0.025
