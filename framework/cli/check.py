"""usage: python -m framework check conf=FILE [key=value ...]

Report everything that is wrong with a configuration at once; if nothing is, see where the run would
start (run.dir, resume), build it, push one batch through it and describe it. Trains nothing and
writes nothing.

exit codes: 0 fine, 2 something is wrong
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.cli.arguments import parse, starts_processes
from framework.errors import EXIT_OK, ConfigError
from framework.parallel.world import World


def main(words: Sequence[str]) -> int:
    """Check one configuration."""
    arguments = parse(words)
    arguments.expect_names(0, 0, "check conf=FILE [key=value ...]")
    loaded = arguments.load()
    # After validation: a mistake in the file should not wait for torch and the training machinery.
    if starts_processes(loaded.config):
        from framework.launch.local import launch

        return launch(["check", *words], loaded.config.launch.num_processes or 1)
    from framework.run import check

    try:
        described = check(loaded)
    except ConfigError as error:
        raise loaded.located(error) from error
    if not World.detect().is_main:
        return EXIT_OK
    width = max((len(label) for label, _ in described), default=0)
    for label, text in described:
        print(f"{label:<{width}}  {text}")
    print("ok")
    return EXIT_OK
