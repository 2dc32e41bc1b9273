"""What a comparison says: one sentence for many arms, a steady sign, the end of a list of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from framework.study.arms import Arm
from framework.study.budget import budget
from framework.study.comparison import Comparison, compare
from framework.study.grid import expand
from framework.study.named_arms import read_arms
from framework.study.results import Result
from framework.study.tables import main_rows
from framework.study.verdict import summary, verdicts

RULE = {"metric": "accuracy", "split": "validation", "mode": "auto"}
BASE = [0.50, 0.52, 0.49, 0.51, 0.50, 0.53, 0.48, 0.50, 0.52, 0.51]


def result(seed: int, value: float) -> Result:
    final = {"test": {"accuracy": value}}
    config = {"seed": seed, "select": RULE, "task": {"name": "classification"}}
    return Result(Path(f"seed-{seed}"), config, value, 1, final, frozenset({"accuracy"}), (), {})


def comparison(differences: Mapping[str, Sequence[float]]) -> Comparison:
    arms = {"erm": BASE} | {
        name: [value + step for value, step in zip(BASE, steps, strict=True)]
        for name, steps in differences.items()
    }
    return compare([Arm(name, {s: result(s, v) for s, v in enumerate(row)}) for name, row in arms.items()])


UP = [0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10, 0.11, 0.09, 0.10]
MIXED = [0.01, -0.01, 0.02, -0.02, 0.00, 0.01, -0.01, 0.00, 0.01, -0.01]
DOWN = [-step for step in UP]


def test_many_arms_are_summed_up() -> None:
    many = comparison({"a": UP, "b": MIXED, "c": DOWN, "d": UP})
    assert summary(many) == (
        "Of 4 arms by accuracy on test: 2 better than erm (a, d); 1 worse than erm (c); 1 not significantly"
        " different from it (b)."
    )
    assert len(verdicts(many)) == 4
    assert summary(comparison({"a": UP, "b": MIXED, "c": DOWN})) == ""


def test_a_steady_sign_of_unsteady_size_is_told() -> None:
    uneven = [0.001, 0.002, 0.001, 0.003, 0.002, 0.001, 0.9, 0.002, 0.001, 0.003]
    sentence = verdicts(comparison({"a": uneven}))[0]
    assert sentence.startswith("No significant difference")
    assert "the same in 10 of 10 seeds, p = 0.002 by the signed-rank test." in sentence
    assert "signed-rank" not in verdicts(comparison({"a": MIXED}))[0]


def test_a_difference_has_the_decimals_of_its_mean() -> None:
    tiny = [step / 100 for step in MIXED]
    assert main_rows(comparison({"a": tiny}))[1][1][3:5] == ["+0.0000", "-0.0001 to +0.0001"]


def tuned(*chosen: str) -> list[str]:
    grid = expand(["policy=erm,rgd", "tune.optimizer.lr=0.1,0.01,1", "tune.batch.size=8,16"], [])
    arms = [Arm(name, {}, chosen=choice) for name, choice in zip(("erm", "rgd"), chosen, strict=True)]
    return budget(grid, [0, 1], arms)


def test_candidates_at_the_end_of_their_list_are_named() -> None:
    first, *ends = tuned("lr=1,size=8", "lr=0.1,size=16")
    assert "6 candidates on seeds 0, 1;" in first
    assert "Chosen: erm: lr=1,size=8; rgd: lr=0.1,size=16." in first
    assert len(ends) == 1  # two batch sizes have nothing but ends
    assert ends[0].startswith("The largest optimizer.lr that was tried, 1, was the best for erm:")
    first, end = tuned("lr=0.01,size=8", "lr=0.01,size=8")
    assert first.endswith("Chosen: lr=0.01,size=8 by all arms.")
    assert "The smallest optimizer.lr that was tried, 0.01, was the best for all arms" in end


def test_an_end_is_that_of_the_arm_s_own_candidates(tmp_path: Path) -> None:
    file = tmp_path / "arms.yaml"
    file.write_text(
        "cvar: {overrides: [policy=cvar], tune: {policy.alpha: [0.1, 0.2, 0.5]}}\n"
        "tilted: {overrides: [policy=tilted], tune: {policy.t: [1, 2, 5]}}\n"
    )
    grid = expand([], [], read_arms(str(file)))
    arms = [Arm("cvar", {}, chosen="alpha=0.1"), Arm("tilted", {}, chosen="t=2")]
    first, end = budget(grid, [0], arms)
    assert "3 candidates on seed 0" in first
    assert end.startswith("The smallest policy.alpha that was tried, 0.1, was the best for cvar:")


def test_an_arm_without_a_choice_has_no_end() -> None:
    assert "rgd: none" in tuned("lr=0.1,size=8", "")[0]
    assert len(tuned("lr=0.1,size=8", "")) == 1
