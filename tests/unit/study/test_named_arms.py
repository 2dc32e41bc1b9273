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
