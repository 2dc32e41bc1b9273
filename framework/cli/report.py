"""usage: python -m framework report RUN [--out FILE]

Write the report of a run: one HTML file that opens offline in any browser.

  RUN             a run folder, of a finished run or of one that is still going on
  --out           the file to write, by default report.html in the run folder
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import parse
from framework.errors import EXIT_OK, UserError
from framework.run_folder import is_run_folder


def main(words: Sequence[str]) -> int:
    """Write one report and print where it is."""
    arguments = parse(words, flags=("out",))
    arguments.expect_names(1, 1, "report RUN [--out FILE]")
    if arguments.overrides or arguments.conf:
        raise UserError("report takes a run folder and no overrides: the run is as it was trained")
    folder = Path(arguments.names[0])
    if not is_run_folder(folder):
        raise UserError(f"{folder} is not a run folder")
    from framework.reporting.report.write import write_report

    out = Path(arguments.flags["out"]) if "out" in arguments.flags else None
    print(write_report(folder, out))
    return EXIT_OK
