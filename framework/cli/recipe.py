"""usage: python -m framework recipe conf=FILE [key=value ...] [PHASE:key=value ...]

Run the phases of a recipe one after the other, each in a process and run folder of its own, and hand on
what the later ones need. Started again, the same command skips what is finished and goes on with the rest.

  conf=FILE         a recipe: a path, or a name under conf/, such as recipe/jtt_spurious
  key=value         change a value in every phase: seed=3
  PHASE:key=value   change it in one phase: retrain:train.epochs=20
  out=DIR           the folder; runs/NAME/RECIPE if left out
  threads=1         CPU threads of each process; they may change the last bits of a number
  dry=true          validate and list the commands, start nothing

exit codes: 0 complete, 1 a phase failed, 2 something is wrong with the input, 75 stopped by a signal
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from framework.cli.arguments import parse
from framework.cli.output import console
from framework.cli.study_options import is_dry, number, place
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import recipes
from framework.errors import EXIT_OK, ConfigError, Problem, UserError
from framework.naming import listed
from framework.parallel.world import World

#: options of the command; everything else is part of the configurations
OPTIONS = ("out", "threads", "dry")


def main(words: Sequence[str]) -> int:
    """Run a recipe."""
    arguments = parse(words)
    arguments.expect_names(0, 0, "recipe conf=FILE [key=value ...] [PHASE:key=value ...]")
    if World.detect().size > 1:
        raise UserError("recipe starts the processes itself: run it without torchrun, srun or mpirun")
    if arguments.conf is None:
        raise UserError(f"conf=FILE is missing{listed(recipes(), 'available')}")
    mine = [word for word in arguments.overrides if word.partition("=")[0] in OPTIONS]
    out, threads, dry = _options(mine)
    # Imports pydantic models of all artifacts, which a mistyped option need not wait for.
    from framework.study.recipe.file import read_recipe
    from framework.study.recipe.plan import make_recipe_plan
    from framework.study.words import typed

    recipe = read_recipe(arguments.conf, typed([word for word in arguments.overrides if word not in mine]))
    plan = make_recipe_plan(recipe, out=out)
    if dry:
        for phase in plan.phases:
            for job in phase.jobs:
                print(f"python -m framework {shlex.join(job.words)}")
        return EXIT_OK
    from framework.study.recipe.conduct import run_recipe

    return run_recipe(plan, threads=threads, console=console())


def _options(words: Sequence[str]) -> tuple[Path | None, int, bool]:
    """out, threads and dry."""
    problems: list[Problem] = []
    given = dict(word.split("=", 1) for word in words)
    if len(given) < len(words):
        problems.append(Problem("", "an option of recipe is given twice", COMMAND_LINE))
    _, out = place(given, problems)
    threads, dry = number("threads", given, problems), is_dry(given, problems)
    if problems:
        raise ConfigError(problems)
    return out, threads or 1, dry
