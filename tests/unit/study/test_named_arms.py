"""A file of arms: each line a name and its overrides, anything else an error with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.errors import ConfigError
from framework.study.grid import Grid, expand
from framework.study.named_arms import read_arms
from framework.study.plan import make_plan


def grid_of(tmp_path: Path, text: str, *words: str) -> Grid:
    file = tmp_path / "arms.yaml"
    file.write_text(text)
    return expand(words, ["seeds"], read_arms(str(file)))


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        grid_of(tmp_path, text)
    return [str(problem) for problem in caught.value.problems]


def test_arms_keep_their_names_order_and_overrides(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, 'plain: []\nboth: [policy=erm, "model.hidden=[8,8]"]\n', "train.epochs=2")
    assert [(arm.name, arm.overrides) for arm in grid.arms] == [
        ("plain", ()),
        ("both", ("policy=erm", "model.hidden=[8,8]")),
    ]
    assert grid.common == ("train.epochs=2",)


def test_comma_lists_multiply_them_and_candidates_are_theirs_too(tmp_path: Path) -> None:
    text = "a: [policy=erm]\nb: [policy=rgd]\n"
    grid = grid_of(tmp_path, text, "batch.size=8,16", "tune.optimizer.lr=0.1,0.2")
    assert [arm.name for arm in grid.arms] == ["a,size=8", "a,size=16", "b,size=8", "b,size=16"]
    assert grid.arms[2].overrides == ("policy=rgd", "batch.size=8")
    assert len(grid.candidates) == 2


def test_shipped_files_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_arms("groups")[0].overrides == ("policy=erm",)
    with pytest.raises(ConfigError, match=r"no file of arms 'gruops'; did you mean groups\?"):
        read_arms("gruops")


def test_a_line_that_is_no_arm_is_named(tmp_path: Path) -> None:
    found = faults(tmp_path, 'text: policy=erm\nfine: []\nnumber: [1]\n" ": []\n')
    assert len(found) == 3
    for fault, line in zip(found, (1, 3, 4), strict=True):
        assert f"arms.yaml:{line}" in fault
    assert "must be a list of overrides" in found[0]
    assert "needs a name" in found[2]


def test_arms_tune_their_own_options_with_the_common_ones(tmp_path: Path) -> None:
    text = """\
erm: {tune: {optimizer.weight_decay: [1e-4, 0.01]}}
cvar:
  overrides: [policy=cvar]
  tune:
    policy.alpha: [0.1, 0.5]
"""
    grid = grid_of(tmp_path, text, "tune.optimizer.lr=0.1,0.2")
    assert grid.num_candidates == 4
    assert [candidate.overrides for candidate in grid.arms[1].candidates] == [
        ("optimizer.lr=0.1", "policy.alpha=0.1"),
        ("optimizer.lr=0.1", "policy.alpha=0.5"),
        ("optimizer.lr=0.2", "policy.alpha=0.1"),
        ("optimizer.lr=0.2", "policy.alpha=0.5"),
    ]
    assert grid.arms[0].candidates[1].name == "lr=0.1,weight_decay=0.01"
    plan = make_plan("digits_spurious", grid, [0, 1, 2], tune_seeds=2)
    assert len(list(plan.trials())) == 2 * 2 * 4
    assert plan.arm_words(grid.arms[1]) == ["policy=cvar", "tune.policy.alpha=0.1,0.5"]


def test_all_arms_have_equally_many_candidates(tmp_path: Path) -> None:
    text = "a: []\nb: {overrides: [policy=cvar], tune: {policy.alpha: [0.1, 0.2, 0.5]}}\n"
    with pytest.raises(ConfigError) as caught:
        grid_of(tmp_path, text, "tune.optimizer.lr=0.1,0.2")
    message = str(caught.value)
    assert "(1: a; 3: b)" in message
    assert "arms.yaml:1" in message


def test_a_mistake_in_what_is_tuned_has_its_line(tmp_path: Path) -> None:
    text = """\
a: {tune: {optimizer.lr: [0.1, 0.2]}}
b:
  overides: [policy=cvar]
c:
  tune:
    policy.alpha: [0.1]
d:
  tune: {policy.alpha: [0.1, 0.1]}
e:
  tune: {train.epochs: [{a: 1}, 2]}
"""
    found = faults(tmp_path, text)
    assert [fault.rpartition("arms.yaml:")[2] for fault in found] == ["3)", "6)", "8)", "10)"]
    for fault, message in zip(
        found, ("did you mean overrides?", "at least 2", "given twice", "single values"), strict=True
    ):
        assert message in fault
    with pytest.raises(ConfigError, match=r"tuned for all arms.*arms.yaml:1"):
        grid_of(tmp_path, "a: {tune: {optimizer.lr: [0.1, 0.2]}}\n", "tune.optimizer.lr=1,2")
    with pytest.raises(ConfigError, match=r"unknown key; did you mean policy\?.*arms.yaml:1"):
        grid_of(tmp_path, "a: {tune: {polcy.alpha: [0.1, 0.2]}}\n")
    grid = grid_of(tmp_path, "a: {overrides: [policy=cvar], tune: {policy.alhpa: [0.1, 0.2]}}\n")
    with pytest.raises(ConfigError, match=r"did you mean alpha\?.*arms.yaml:1"):
        make_plan("digits_spurious", grid, [0])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("polcy=erm", "did you mean policy?"),
        ("seed=3", "seeds=5 or seeds="),
        ("select.metric=loss", "must be the same"),
        ("launch=local", "must be the same"),
        ("'policy=erm,rgd'", "one value for each key"),
        ("policy=erm=", "cannot be read"),
    ],
)
def test_overrides_are_held_to_the_rules_of_the_command_line(word: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"good: [policy=erm]\nbad: [{word}, traim.epochs=1]\n")
    assert message in found[0]
    assert "arms.yaml:2" in found[0]
    assert "traim" in found[-1]


def test_names_that_no_folder_tells_apart_are_refused(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "a__b: [policy=erm]\na,b: [policy=rgd]\n")
    with pytest.raises(ConfigError, match="a__b and a,b would share a folder"):
        make_plan("digits_spurious", grid, [0])
