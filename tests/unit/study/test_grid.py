"""Comma lists become arms; what may not be varied is said at once."""

from __future__ import annotations

import pytest

from framework.errors import ConfigError
from framework.study.grid import Choice, expand


def names(*words: str) -> list[str]:
    return [arm.name for arm in expand(words, ["seeds", "jobs"]).arms]


def test_arms_are_the_product_in_the_order_written() -> None:
    grid = expand(["train.epochs=2", "policy=erm,rgd", "optimizer.lr=0.1,1e-2"], [])
    assert grid.common == ("train.epochs=2",)
    assert [arm.name for arm in grid.arms] == ["erm,lr=0.1", "erm,lr=0.01", "rgd,lr=0.1", "rgd,lr=0.01"]
    assert grid.arms[3].overrides == ("policy=rgd", "optimizer.lr=0.01")
    assert grid.arms[0].candidates == grid.candidates == (Choice("", ()),)
    assert not grid.tuned


def test_a_list_is_one_value_and_quotes_protect_commas() -> None:
    assert names("model.hidden=[16],[8,8]") == ["hidden=[16]", "hidden=[8,8]"]
    grid = expand(["data.groups=[label,colour]", "model.text='a,b'"], [])
    assert [(arm.name, arm.overrides) for arm in grid.arms] == [("", ())]
    assert grid.common == ("data.groups=[label,colour]", "model.text='a,b'")


def test_names_tell_equal_last_words_apart() -> None:
    assert names("policy.clip=1,2", "train.clip=3,4")[0] == "policy.clip=1,train.clip=3"


def test_folders_tell_names_apart_that_they_cannot_hold() -> None:
    folders = [arm.folder for arm in expand(["data.groups=[a],[a,b],'[a_b]',[a/b]"], []).arms]
    assert len(set(folders)) == 4
    assert all("/" not in folder and not folder.startswith(".") for folder in folders)
    assert Choice("rgd", ()).folder == "rgd"
    assert len(Choice("x" * 300, ()).folder) < 100


def test_candidates_are_what_is_tuned() -> None:
    grid = expand(["policy=erm,rgd", "tune.optimizer.lr=0.1,0.2", "tune.train.epochs=1,2"], [])
    assert grid.tuned
    assert [candidate.name for candidate in grid.candidates][:2] == ["lr=0.1,epochs=1", "lr=0.1,epochs=2"]
    assert grid.candidates[3].overrides == ("optimizer.lr=0.2", "train.epochs=2")
    assert grid.num_candidates == 4
    assert all(arm.candidates == grid.candidates for arm in grid.arms)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("polcy=erm,rgd", "did you mean policy?"),
        ("sedes=3", "did you mean seeds?"),
        ("seed=1,2", "seeds=5 or seeds="),
        ("run.dir=here", "belongs to the command"),
        ("resume=never", "belongs to the command"),
        ("select.metric=accuracy,loss", "must be the same"),
        ("tune.evaluate.final=[test]", "must be the same"),
        ("tune.optimizer.lr=0.1", "two values or more"),
        ("policy=erm,erm", "the same value is given twice"),
        ("optimizer.lr=interval(0,1)", "only lists of values"),
        ("policy=erm,", "cannot be read"),
    ],
)
def test_every_mistake_is_named(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand([word, "traim.epochs=1"], ["seeds", "jobs"])
    problems = [str(problem) for problem in caught.value.problems]
    assert len(problems) == 2
    assert message in problems[0]
    assert "traim" in problems[1]
