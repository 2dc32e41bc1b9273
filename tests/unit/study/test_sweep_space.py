from __future__ import annotations

from pathlib import Path

import pytest

from framework.errors import Problem
from framework.study.sweep.space import Choices, Range, parse, read_space
from tests.tiny import write


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optimizer.lr=log(3e-5,1e-3)", Range("optimizer.lr", 3e-5, 1e-3, integer=False, log=True)),
        ("model.dropout=uniform(0, .3)", Range("model.dropout", 0.0, 0.3, integer=False, log=False)),
        ("train.epochs=int(5,20)", Range("train.epochs", 5, 20, integer=True, log=False)),
        ("model.width=log_int(8,512)", Range("model.width", 8, 512, integer=True, log=True)),
        ("policy.clip=choice(1, 2,4)", Choices("policy.clip", ("1", "2", "4"))),
        ("model.hidden=choice([8],[8,8])", Choices("model.hidden", ("[8]", "[8,8]"))),
        ("policy=choice(erm,rgd)", Choices("policy", ("erm", "rgd"))),
    ],
)
def test_words_are_read_and_written(word: str, expected: Range | Choices) -> None:
    problems: list[Problem] = []
    assert parse(word, problems) == expected
    assert problems == []
    assert parse(f"{expected.key}={expected}", problems) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lgo(1,2)", "did you mean log?"),
        ("log(1)", "two numbers"),
        ("log(0,1)", "above 0"),
        ("uniform(2,1)", "less than"),
        ("uniform(1,1)", "less than"),
        ("uniform(a,1)", "two numbers"),
        ("int(1.5,3)", "two whole numbers"),
        ("log(nan,1)", "two numbers"),
        ("choice(1)", "two values or more"),
        ("choice()", "choice(a,b"),
        ("choice(1,1)", "given twice"),
        ("choice(1,[)", "choice(a,b"),
        ("3", "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_told(text: str, message: str) -> None:
    problems: list[Problem] = []
    assert parse(f"optimizer.lr={text}", problems) is None
    [problem] = problems
    assert problem.path == "optimizer.lr"
    assert message in problem.message


def test_places_follow_the_scale() -> None:
    assert Range("x", 1.0, 100.0, integer=False, log=True).place(10.0) == pytest.approx(0.5)
    assert Range("x", 2, 6, integer=True, log=False).place(3) == pytest.approx(0.25)


def test_a_file_may_nest_its_keys_and_its_faults_have_lines(tmp_path: Path) -> None:
    conf = str(write(tmp_path))
    (tmp_path / "sweep").mkdir()
    path = tmp_path / "sweep" / "mine.yaml"
    path.write_text("optimizer:\n  lr: log(1e-3, 1)\nmodel.hidden: choice([8], [16])\n")
    problems: list[Problem] = []
    space = read_space("mine", conf, problems)
    assert list(map(str, space.values())) == ["log(0.001,1.0)", "choice([8],[16])"]
    path.write_text("optimizer:\n  lr: lgo(1e-3, 1)\ntrain.epochs: 3\n")
    assert read_space(str(path), conf, problems) == {}
    assert [(p.path, p.where.rpartition(":")[2]) for p in problems] == [
        ("optimizer.lr", "2"),
        ("train.epochs", "3"),
    ]
    problems.clear()
    assert read_space("mnie", conf, problems) == {}
    assert "did you mean mine?" in problems[0].message
