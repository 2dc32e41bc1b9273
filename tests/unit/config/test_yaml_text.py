"""What is written as YAML reads back to the same data."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from framework.config.text import dump, lines

KEYS = st.text("abcxyz_019", min_size=1, max_size=6).map(lambda text: f"k{text}")
WORDS = st.one_of(
    st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="$\\\x85\u2028\u2029\ufeff"),
        max_size=12,
    ),
    st.sampled_from(
        [
            "null",
            "~",
            "yes",
            "On",
            "1e-3",
            "1_000",
            "0x1f",
            "",
            " a",
            "a: b",
            "- a",
            "#",
            "2024-01-01",
            ".inf",
        ]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_round_trip(data: dict[str, Any]) -> None:
    assert OmegaConf.to_container(OmegaConf.create(dump(data)), resolve=True) == data


def test_text_that_looks_like_an_interpolation_stays_text() -> None:
    read = OmegaConf.create(dump({"a": "x${b}", "b": 1}))
    assert OmegaConf.to_container(read, resolve=True) == {"a": "x${b}", "b": 1}


def test_each_value_is_one_line_with_its_key() -> None:
    data = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": "x", "f": None}], "g": []}
    assert list(lines(data)) == [
        ("", "a:"),
        ("a.b", "  b: 1"),
        ("a.c", "  c: [1, 2]"),
        ("", "d:"),
        ("d.0.e", "  - e: x"),
        ("d.0.f", "    f: null"),
        ("g", "g: []"),
    ]
