"""From the folder of a run, a comparison or a sweep to report.html, and from data to its page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from framework.files import replace_text, writing
from framework.reporting.report.comparison.page import comparison_page
from framework.reporting.report.comparison.read import COMPARISON, read_comparison
from framework.reporting.report.page import render
from framework.reporting.report.read import REPORT, read_run
from framework.reporting.report.run_page import run_page
from framework.reporting.report.sweep.page import sweep_page
from framework.reporting.report.sweep.read import SWEEP, read_sweep

if TYPE_CHECKING:
    from framework.data.survey.survey import Survey
    from framework.training.assemble import Run

_log = logging.getLogger("framework.report")


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run, comparison or sweep to `out`, by default into its folder; returns its path.

    Raises:
        UserError: comparison.json or sweep.json is broken, or the file cannot be written.
    """
    if (folder / COMPARISON).is_file():
        page = comparison_page(read_comparison(folder))
    elif (folder / SWEEP).is_file():
        page = sweep_page(read_sweep(folder))
    else:
        page = run_page(read_run(folder))
    path = folder / REPORT if out is None else out
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, render(page))
    return path


def write_data_page(survey: Survey, name: str, out: Path) -> Path:
    """Write the page of the data of the configuration called `name` to `out`, and return that.

    Raises:
        UserError: the file cannot be written.
    """
    from framework.reporting.report.data_page import data_page

    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_text(out, render(data_page(survey, name)))
    return out


def report_at_end(run: Run) -> None:
    """Write report.json and report.html of a run that has ended; what goes wrong is only a warning."""
    from framework.reporting.report.facts import facts_of

    assert run.dir is not None
    try:
        facts_of(run).write(run.dir)
        write_report(run.dir)
    except Exception as error:
        _log.warning(
            "no report was written: %s: %s",
            type(error).__name__,
            error,
            exc_info=_log.isEnabledFor(logging.DEBUG),
        )
