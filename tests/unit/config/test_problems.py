"""How faults are worded and laid out."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framework.config.problems import render, translate
from framework.config.provenance import Origins
from framework.errors import Problem


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    alpha: float = 1.0


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    either: list[float] | Literal["auto"] = "auto"
    pair: tuple[float, float] = (0.0, 1.0)
    inner: Inner | None = None
    inners: list[Inner] = []
    even: Annotated[int, Field(multiple_of=2)] = 2
    by_name: dict[str, int] = {}


def problems(data: dict[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(data, strict=True)
    found = translate(caught.value, Model, data, Origins("run.yaml"))
    return [(problem.path, problem.message) for problem in found]


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"either": 3}, "either", "must be a list, or 'auto'; got 3"),
        ({"either": "aut"}, "either", "must be a list, or 'auto'; got \"aut\"; did you mean auto?"),
        ({"either": [1, "x"]}, "either.1", 'must be a number; got "x"'),
        ({"inner": {"alpa": 1}}, "inner.alpa", "unknown key; did you mean alpha?"),
        ({"inner": {"zzz": 1}}, "inner.zzz", "unknown key (one of: alpha)"),
        ({"inner": 3}, "inner", "must be a section of `key: value` lines; got 3"),
        ({"inners": [{}, {"alpah": 1}]}, "inners.1.alpah", "unknown key; did you mean alpha?"),
        ({"even": 3}, "even", "must be a multiple of 2; got 3"),
        ({"by_name": {"a": "x"}}, "by_name.a", 'must be a whole number; got "x"'),
    ],
)
def test_sentences(data: dict[str, object], path: str, message: str) -> None:
    assert problems(data) == [(path, message)]


def test_a_long_value_is_cut() -> None:
    ((_, message),) = problems({"even": "x" * 500})
    assert len(message) < 100
    assert message.endswith("…")


def test_an_error_type_without_a_sentence_of_its_own_is_still_a_problem() -> None:
    (found,) = problems({"pair": (1.0, 2.0, 3.0)})
    assert found[0] == "pair" or found[0].startswith("pair")


def test_layout() -> None:
    text = render(
        [
            Problem("policy.clipp", "unknown key; did you mean clip?", "conf/policy/rgd.yaml:3"),
            Problem("a", "needs a value"),
        ],
        "conf/vit_rgd.yaml",
    )
    assert text == (
        "conf/vit_rgd.yaml: 2 problems\n"
        "  policy.clipp  unknown key; did you mean clip?  (conf/policy/rgd.yaml:3)\n"
        "  a             needs a value"
    )


def test_a_single_problem_of_a_whole_file_is_one_line() -> None:
    assert render([Problem("", "the file is empty", "a.yaml")], "a.yaml") == "the file is empty  (a.yaml)"
    assert render([Problem("policy", "unknown")], "") == "policy: unknown"
