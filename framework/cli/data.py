"""usage: python -m framework data conf=FILE [key=value ...] [--out FILE] [--samples N|all]

Look at the data before training on it: counts per split, class and group, ranges, missing values,
constant columns, duplicates, on the terminal and, with samples to look at, on one HTML page.

  --out           the page to write, by default data-NAME.html in the working directory
  --samples       how many samples of each split are read, by default 20000; counts are of all in any case
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framework.cli.arguments import parse
from framework.cli.output import console
from framework.errors import EXIT_OK, ConfigError, UserError

if TYPE_CHECKING:
    from framework.data.survey.survey import Survey

#: samples of each split that are read unless the user says otherwise
_SAMPLES = "20000"
#: rows of the table on the terminal
_MAX_ROWS = 60


def main(words: Sequence[str]) -> int:
    """Survey the data of one configuration, and write its page."""
    arguments = parse(words, flags=("out", "samples"))
    arguments.expect_names(0, 0, "data conf=FILE [key=value ...] [--out FILE] [--samples N|all]")
    limit = _limit(arguments.flags.get("samples", _SAMPLES))
    loaded = arguments.load()
    # Imports torch, which a mistake in the file need not wait for.
    from framework.data.survey.survey import survey_data
    from framework.reporting.report.write import write_data_page

    try:
        survey = survey_data(loaded.config.data, loaded.config.seed, limit)
    except ConfigError as error:
        raise loaded.located(error) from error
    _show(survey)
    out = Path(arguments.flags.get("out", f"data-{loaded.config.name}.html"))
    print(f"page: {write_data_page(survey, loaded.config.name, out)}")
    return EXIT_OK


def _limit(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"--samples must be a number of samples of at least 1, or all, not '{text}'")
    return int(text)


def _show(survey: Survey) -> None:
    from rich.table import Table
    from rich.text import Text

    from framework.data.survey.findings import findings
    from framework.reporting.report.data_page import count_table

    out = console()
    data = survey.data
    out.print(Text(_harmless(f"{data.source}: {data.spec.kind}")))
    for split in survey.splits:
        if split.moments is not None and len(split.positions):
            low, high = split.moments.low.min(), split.moments.high.max()
            out.print(Text(f"{split.name}: inputs from {low:.6g} to {high:.6g}"))
        if split.lengths is not None and len(split.lengths):
            low, high, mean = split.lengths.min(), split.lengths.max(), split.lengths.mean()
            out.print(Text(f"{split.name}: texts of {low:,} to {high:,} tokens, {mean:,.1f} on average"))
        if split.real_targets is not None:
            low, high = split.real_targets.min(), split.real_targets.max()
            out.print(Text(f"{split.name}: targets from {low:.6g} to {high:.6g}"))
    counts = count_table(survey)
    table = Table(box=None)
    for place, column in enumerate(counts.columns):
        table.add_column(column, justify="right" if place else "left")
    for number, row in enumerate(counts.rows[:_MAX_ROWS]):
        style = "red" if number in counts.marked else None
        table.add_row(*(Text(_harmless(counts.shown_cell(cell))) for cell in row), style=style)
    out.print(table)
    if len(counts.rows) > _MAX_ROWS:
        out.print(f"and {len(counts.rows) - _MAX_ROWS:,} more rows, which are on the page")
    found = findings(survey)
    out.print(Text("before you train on it:" if found else "no check found anything unusual", style="bold"))
    for text in found:
        out.print(Text(f"* {_harmless(text)}"), soft_wrap=True)


def _harmless(text: str) -> str:
    """Names come from files; what steers a terminal is shown as a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
