"""usage: python -m framework watch RUN [--once]

Follow a run from another terminal while it goes on: progress, curves, groups, policy state, last
checkpoint. It reads the run folder alone, so it works for any engine and over any connection. It ends
with the run, or with Ctrl-C, which does not touch the run.

  RUN             a run folder
  --once          print how the run stands and end; also what happens when the output is no terminal
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from framework.cli.arguments import parse, run_folder
from framework.errors import EXIT_OK, UserError


def main(words: Sequence[str]) -> int:
    """Follow one run."""
    arguments = parse([word for word in words if word != "--once"])
    arguments.expect_names(1, 1, "watch RUN [--once]")
    if arguments.overrides or arguments.conf:
        raise UserError("watch takes a run folder and nothing else")
    folder = run_folder(arguments.names[0])
    from framework.reporting.watch import follow, snapshot

    if "--once" in words or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        snapshot(folder)
    else:
        follow(folder)
    return EXIT_OK
