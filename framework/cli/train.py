"""usage: python -m framework [train] conf=FILE [key=value ...]

Train, evaluate and save a run. Starting again with the same run.dir continues an unfinished run.

  conf=FILE       a path, a run folder, or a name under conf/
  key=value       change a value (train.epochs=3) or swap a group (policy=group_dro)

exit codes: 0 finished, 2 something is wrong with the input, 75 stopped by a signal after saving
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.cli.arguments import parse
from framework.errors import ConfigError


def main(words: Sequence[str]) -> int:
    """Train; returns the exit code of the run."""
    arguments = parse(words)
    arguments.expect_names(0, 0, "train conf=FILE [key=value ...]")
    loaded = arguments.load()
    # After validation: a mistake in the file should not wait for torch and the training machinery.
    from framework.run import train

    try:
        return train(loaded)
    except ConfigError as error:
        raise loaded.located(error) from error
