from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.reporting.text import duration, fit, number, rate, shorten, shorten_group


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5000"), (0, "0.0000"), (1e-5, "1e-05"), (12345.6, "1.235e+04"), (None, "-"), (math.nan, "nan")],
)
def test_number(value, shown):
    assert number(value) == shown


def test_duration():
    assert [duration(s) for s in (0, 59.6, 3600, 3725)] == ["0:00", "1:00", "1:00:00", "1:02:05"]


def test_rate():
    assert [rate(r) for r in (0.1234, 12.34, 12345.6)] == [
        "0.123 samples/s",
        "12.3 samples/s",
        "12,346 samples/s",
    ]


@given(st.text(max_size=40), st.integers(1, 40))
def test_shortened_text_fits_and_keeps_its_ends(text, width):
    short = shorten(text, width)
    assert len(short) == min(len(text), width)
    assert short[:1] == text[:1]
    assert width <= 3 or short[-1:] == text[-1:]


def test_a_long_group_name_loses_its_columns_first():
    assert shorten_group("label=odd, background=land", 26) == "label=odd, background=land"
    assert shorten_group("label=odd, background=land", 12) == "odd, land"
    assert shorten_group("a very long name of a group", 12) == "a ver.. group"[:5] + ".." + "group"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.text("ab", min_size=1, max_size=9)), min_size=1),
    st.integers(4, 60),
)
def test_a_line_fits_its_width(segments, width):
    line = fit(segments, width)
    assert len(line) <= width
    assert fit(segments, None) == "  ".join(text for _, text in segments)


def test_the_least_important_goes_first():
    segments = [(0, "loss 1"), (2, "objective 2"), (1, "worst 3")]
    assert fit(segments, 15) == "loss 1  worst 3"
