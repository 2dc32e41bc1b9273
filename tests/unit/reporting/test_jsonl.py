from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.errors import UserError
from framework.reporting.jsonl import JsonLines, decode, encode
from framework.training.hooks import RunHeader

HEADER = RunHeader("r", Path(), 10, 5, None, ())


def bits(value):
    """A record with floats as their bytes, so that NaN equals NaN and -0.0 differs from 0.0."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [bits(item) for item in value]
    return value


texts = st.text().filter(lambda text: text not in ("NaN", "Infinity", "-Infinity"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_every_record_comes_back_bit_for_bit_from_one_line_of_strict_json(record):
    line = encode(record)
    assert "\n" not in line
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert bits(decode(line)) == bits(record)


def test_a_group_called_nan_stays_a_name():
    record = {"worst_group": "NaN", "groups": [{"name": "NaN", "loss": math.nan}]}
    assert bits(decode(encode(record))) == bits(record)


def test_lines_are_on_the_disk_at_once_and_appended(tmp_path):
    reporter = JsonLines(tmp_path)
    reporter.start(HEADER)
    reporter.record({"event": "train", "step": 1, "loss": 0.1 + 0.2})
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"event": "train", "step": 1, "loss": 0.30000000000000004}\n'
    )
    reporter.sync()
    reporter.close("interrupted")
    again = JsonLines(tmp_path)
    again.start(HEADER)
    again.record({"event": "train", "step": 2})
    again.close("finished")
    again.close("finished")
    assert [decode(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_the_name_of_a_file_that_is_no_utf8_is_written_and_read(tmp_path):
    record = {"event": "quarantine", "step": 1, "name": "caf\udce9.png", "reason": "ü"}
    reporter = JsonLines(tmp_path)
    reporter.start(HEADER)
    reporter.record(record)
    reporter.close("finished")
    assert decode((tmp_path / "metrics.jsonl").read_text("utf-8")) == record


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No such file"):
        JsonLines(tmp_path / "nowhere").start(HEADER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_user_error(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    reporter = JsonLines(tmp_path)
    reporter.start(HEADER)
    with pytest.raises(UserError, match="No space left on device"):
        reporter.record({"event": "train", "step": 1})
    with pytest.raises(UserError):
        reporter.close("failed")
