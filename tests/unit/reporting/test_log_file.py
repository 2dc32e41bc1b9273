from __future__ import annotations

import logging
import warnings

import pytest

from framework.errors import UserError
from framework.reporting.log_file import open_log


def test_everything_is_in_the_file_and_warnings_reach_the_console_once(tmp_path, capsys):
    logger = logging.getLogger("framework.some.module")
    with open_log(tmp_path):
        logger.info("built the model")
        for _ in range(3):
            logger.warning("group %s is small", "a")
        logger.error("details", extra={"on_console": False})
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    logger.warning("after the end")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO    framework.some.module: built the model" in text
    assert text.count("group a is small") == 3
    assert "details" in text
    assert "old thing" in text
    assert "after the end" not in text
    console = capsys.readouterr()
    assert console.out == ""
    lines = console.err.splitlines()
    assert lines[0] == "warning: group a is small"
    assert lines[1].startswith("warning: ")
    assert "old thing" in lines[1]
    assert len(lines) == 2


def test_a_resumed_run_appends(tmp_path):
    for message in ("one", "two"):
        with open_log(tmp_path):
            logging.getLogger("framework").info(message)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2


def test_another_rank_has_a_file_of_its_own_and_no_console(tmp_path, capsys):
    with open_log(tmp_path, rank=3):
        logging.getLogger("framework").info("hello")
        logging.getLogger("framework").warning("hm")
    assert [path.name for path in tmp_path.iterdir()] == ["log-rank-0003.txt"]
    lines = (tmp_path / "log-rank-0003.txt").read_text().splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["hello", "hm"]
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*log\.txt"):
        open_log(tmp_path / "nowhere")
