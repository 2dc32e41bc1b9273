"""Every form of an entry of a defaults list."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.config.compose import compose

FILES = {
    "base.yaml": "defaults: [{policy: first}]\nseed: 1\nname: base\n",
    "policy/first.yaml": "name: first\nsize: 1\n",
    "policy/second.yaml": "defaults: [first]\nkind: second\n",
    "policy/more.yaml": "size: 5\n",
    "policy/inner/part.yaml": "part: true\n",
    "policy/nested.yaml": "defaults: [{inner: part}]\nname: nested\n",
    "reporting/quiet.yaml": "# @package _global_\nreporters: []\n",
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)


def composed(text: str, *overrides: str) -> dict[str, object]:
    Path("run.yaml").write_text(text)
    composition = compose(Path("run.yaml"), overrides)
    assert not composition.problems
    return composition.data


def policy(text: str, *overrides: str) -> object:
    return composed(text, *overrides)["policy"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("defaults: [{policy: first}]", {"name": "first", "size": 1}),
        ("defaults: [{policy: second}]", {"name": "first", "size": 1, "kind": "second"}),
        ("defaults: [{policy: [first, more]}]", {"name": "first", "size": 5}),
        ("defaults: [policy/first]", {"name": "first", "size": 1}),
        ("defaults: [base, {override policy: second}]", {"name": "first", "size": 1, "kind": "second"}),
        ("defaults: [{policy: nested}]", {"name": "nested", "inner": {"part": True}}),
        ("defaults: [{policy: first}, {optional policy/inner: nowhere}]", {"name": "first", "size": 1}),
        ("defaults: [{policy: first}, _self_]\npolicy: {size: 2}", {"name": "first", "size": 2}),
        ("defaults: [_self_, {policy: first}]\npolicy: {size: 2}", {"name": "first", "size": 1}),
        ("defaults: [{policy: first}]\npolicy: {size: 2}", {"name": "first", "size": 2}),
    ],
)
def test_entries(text: str, expected: object) -> None:
    assert policy(text) == expected


def test_a_section_named_in_the_entry() -> None:
    assert composed("defaults: [{policy@other: first}]") == {"other": {"name": "first", "size": 1}}


def test_a_global_group_lands_at_the_top() -> None:
    assert composed("defaults: [{reporting: quiet}]\nseed: 2") == {"reporters": [], "seed": 2}


def test_a_run_file_can_start_from_another() -> None:
    assert composed("defaults: [base]\nname: run") == {
        "policy": {"name": "first", "size": 1},
        "seed": 1,
        "name": "run",
    }


@pytest.mark.parametrize(
    "text", ["defaults: [base]", "defaults: [{policy: first}]", "seed: 1\npolicy: {old: 1}"]
)
def test_a_group_is_swapped_wherever_it_was_chosen(text: str) -> None:
    assert policy(text, "policy=second") == {"name": "first", "size": 1, "kind": "second"}
    assert "policy" not in composed(text, "~policy")


def test_naming_another_component_starts_the_section_anew() -> None:
    text = "name: run\ndefaults: [base, _self_]\npolicy: {name: other, width: 3}\n"
    assert composed(text)["policy"] == {"name": "other", "width": 3}
    assert composed(text)["seed"] == 1, "the name of the run is not the name of a component"
    assert policy("defaults: [base]", "policy={name: other}") == {"name": "other"}
    assert policy("defaults: [base]", "policy={name: first, width: 3}") == {
        "name": "first",
        "size": 1,
        "width": 3,
    }
    Path("run.yaml").write_text(text)
    origins = compose(Path("run.yaml"), []).origins
    assert origins.place("policy.width") == "run.yaml:3"
    assert origins.place("policy.size") == "run.yaml:3", "nothing is left of the old section"


def test_places_of_merged_files() -> None:
    Path("run.yaml").write_text("defaults: [{policy: second}]\npolicy: {size: 2}")
    origins = compose(Path("run.yaml"), ["seed=3"]).origins
    assert origins.place("policy.kind") == "policy/second.yaml:2"
    assert origins.place("policy.size") == "run.yaml:2"
    assert origins.place("policy.nothing") == "run.yaml:2", "the nearest section that somebody wrote"
    assert origins.place("seed") == "command line"
    assert origins.place("nowhere") == "run.yaml"


@pytest.mark.parametrize("text", ["defaults: [{policy: second}]", "defaults: [{policy: '${oc.env:CHOICE}'}]"])
def test_a_file_that_was_edited_is_read_anew(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is kept from one composition for the next is older than the files."""
    monkeypatch.setenv("CHOICE", "second")
    assert policy(text) == {"name": "first", "size": 1, "kind": "second"}
    Path("policy/first.yaml").write_text("name: first\nsize: 3\n")
    assert policy(text) == {"name": "first", "size": 3, "kind": "second"}
    Path("policy/second.yaml").write_text("defaults: [more]\nkind: other\n")
    assert policy(text) == {"size": 5, "kind": "other"}
    Path("conf/policy").mkdir(parents=True)
    Path("policy/more.yaml").rename("conf/policy/more.yaml")
    Path("conf/policy/more.yaml").write_text("size: 7\n")
    assert policy(text) == {"size": 7, "kind": "other"}
