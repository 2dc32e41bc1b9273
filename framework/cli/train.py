"""usage: python -m framework [train] conf=FILE [key=value ...]

Train, evaluate and save a run. Starting again with the same run.dir continues an unfinished run.

  conf=FILE       a path, a run folder, or a name under conf/
  key=value       change a value (train.epochs=3) or swap a group (policy=group_dro)

Several processes: launch=local launch.num_processes=2, or start it with torchrun, srun or mpirun.

exit codes: 0 finished, 2 something is wrong with the input, 75 stopped by a signal after saving
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.cli.arguments import parse, starts_processes
from framework.errors import ConfigError


def main(words: Sequence[str]) -> int:
    """Train; returns the exit code of the run."""
    arguments = parse(words)
    arguments.expect_names(0, 0, "train conf=FILE [key=value ...]")
    loaded = arguments.load()
    # After validation: a mistake in the file should not wait for torch and the training machinery.
    if starts_processes(loaded.config):
        from framework.launch.local import launch

        return launch(["train", *words], loaded.config.launch.num_processes or 1)
    from framework.run import train

    try:
        return train(loaded)
    except ConfigError as error:
        raise loaded.located(error) from error
