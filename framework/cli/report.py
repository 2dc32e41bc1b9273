"""usage: python -m framework report FOLDER [--out FILE]

Write the report of a run, a comparison or a sweep: one HTML file that opens offline in any browser.

  FOLDER          of a run, finished or still going on, of a comparison or of a sweep
  --out           the file to write, by default report.html in the folder
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import parse
from framework.errors import EXIT_OK, UserError
from framework.reporting.report.comparison.read import COMPARISON
from framework.reporting.report.sweep.read import SWEEP
from framework.run_folder import is_run_folder


def main(words: Sequence[str]) -> int:
    """Write one report and print where it is."""
    arguments = parse(words, flags=("out",))
    arguments.expect_names(1, 1, "report FOLDER [--out FILE]")
    if arguments.overrides or arguments.conf:
        raise UserError("report takes a folder and no overrides: a run is as it was trained")
    folder = Path(arguments.names[0])
    if not is_run_folder(folder) and not any((folder / name).is_file() for name in (COMPARISON, SWEEP)):
        raise UserError(f"{folder} is neither a run folder nor one of a comparison or sweep")
    from framework.reporting.report.write import write_report

    out = Path(arguments.flags["out"]) if "out" in arguments.flags else None
    print(write_report(folder, out))
    return EXIT_OK
