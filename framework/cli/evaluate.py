"""usage: python -m framework evaluate RUN [split=test]

Measure a finished run on a split, at its selected checkpoint: what the run itself does at its end for the
splits in evaluate.final. The numbers are added to the run folder; a split is measured once.

  RUN             a run folder
  split=test      train, validation or test
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.cli.arguments import parse, run_folder, starts_processes
from framework.cli.output import console
from framework.config.checks import SPLITS
from framework.errors import EXIT_OK, UserError
from framework.naming import listed, nearest


def main(words: Sequence[str]) -> int:
    """Evaluate one run and print the table."""
    arguments = parse(words)
    arguments.expect_names(1, 1, "evaluate RUN [split=test]")
    others = [word for word in arguments.overrides if not word.startswith("split=")]
    if others or arguments.conf or len(arguments.overrides) > 1:
        raise UserError("evaluate takes a run folder and split=NAME: a run is as it was trained")
    split = arguments.overrides[0].removeprefix("split=") if arguments.overrides else "test"
    if split not in SPLITS:
        raise UserError(f"there is no split '{split}'{nearest(split, SPLITS)}{listed(SPLITS)}")
    folder = run_folder(arguments.names[0])
    from framework.config.load import load
    from framework.parallel.world import World

    loaded = load(str(folder), world_size=World.detect().size)
    if starts_processes(loaded.config):
        from framework.launch.local import launch

        return launch(["evaluate", *words], loaded.config.launch.num_processes or 1)
    from framework.evaluate import evaluate_run
    from framework.reporting.tables import evaluation_table

    record = evaluate_run(loaded, folder, split)
    if World.detect().is_main:
        output = console()
        output.print(evaluation_table(record, width=output.width))
    return EXIT_OK
