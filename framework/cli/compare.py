"""usage: python -m framework compare conf=FILE key=a,b [key=value ...] [seeds=5] [tune.KEY=x,y]
       python -m framework compare conf=FILE arms=FILE [key=value ...] [seeds=5] [tune.KEY=x,y]
       python -m framework compare RUN RUN ... [out=DIR]

Run every combination of the comma lists for every seed, each in a process and folder of its own, and say
whether the differences to the first arm are more than chance; or do that for finished runs. Started
again, the same command skips what is finished and goes on with the rest.

  key=a,b         an arm for each value: policy=erm,rgd or optimizer.lr=0.1,0.01; a list is [a,b]
  arms=FILE       arms that differ in several keys: a YAML file of lines `name: [policy=erm, key=value]`, or
                  of sections with `overrides`, `tune` (values for this arm alone) and `recipe`
  seeds=5         seeds 0 to 4 for every arm, or these: seeds=[3,7,11]; 5 if left out
  tune.KEY=x,y    for each arm, take the value that is best on validation; all have equally many candidates
  tune_seeds=1    compare the values of tune.KEY on the first so many seeds
  jobs=N          processes at a time; as many as there are cores, or one if there is a GPU
  threads=1       CPU threads of each run
  study=NAME      the folder is runs/NAME/compare-STUDY; made of the arguments if left out
  out=DIR         the folder itself
  dry=true        validate and list the runs, start nothing

exit codes: 0 complete, 1 a run failed, 2 something is wrong with the input, 75 stopped by a signal
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.cli.arguments import Arguments, parse
from framework.cli.output import console
from framework.cli.study_options import is_dry, number, place, seeds
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import available
from framework.errors import EXIT_OK, ConfigError, Problem, UserError
from framework.naming import listed
from framework.parallel.world import World

#: options of the command; everything else is part of the configuration
OPTIONS = ("arms", "seeds", "tune_seeds", "jobs", "threads", "study", "out", "dry")
_DEFAULT_SEEDS = 5


@dataclass(frozen=True)
class Options:
    """What the command was told beside the configuration."""

    arms: str | None = None
    seeds: tuple[int, ...] = tuple(range(_DEFAULT_SEEDS))
    tune_seeds: int = 1
    jobs: int | None = None
    threads: int = 1
    study: str | None = None
    out: Path | None = None
    dry: bool = False


def main(words: Sequence[str]) -> int:
    """Compare arms or finished runs."""
    arguments = parse(words)
    if World.detect().size > 1:
        raise UserError("compare starts the processes itself: run it without torchrun, srun or mpirun")
    mine = [word for word in arguments.overrides if word.partition("=")[0] in OPTIONS]
    others = [word for word in arguments.overrides if word not in mine]
    problems: list[Problem] = []
    options = _options(mine, problems)
    if arguments.names:
        return _compare_folders(arguments, options, problems)
    return _compare_arms(arguments, options, others, problems)


def _compare_arms(
    arguments: Arguments, options: Options, others: Sequence[str], problems: list[Problem]
) -> int:
    from framework.study.grid import expand
    from framework.study.named_arms import read_arms
    from framework.study.plan import check_runs, make_plan

    if arguments.conf is None:
        raise UserError(f"conf=FILE is missing{listed(available(), 'available')}")
    try:
        named = read_arms(options.arms) if options.arms is not None else []
        grid = expand(others, OPTIONS, named)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    plan = make_plan(
        arguments.conf,
        grid,
        options.seeds,
        tune_seeds=options.tune_seeds,
        threads=options.threads,
        study=options.study,
        out=options.out,
    )
    check_runs(plan)
    if options.dry:
        for job in (job for trial in plan.trials() for job in trial.jobs):
            print(f"python -m framework {shlex.join(job.words)}")
        return EXIT_OK
    from framework.study.compare import run_comparison

    return run_comparison(plan, jobs=options.jobs, console=console())


def _compare_folders(arguments: Arguments, options: Options, problems: list[Problem]) -> int:
    strange = [word for word in arguments.overrides if not word.startswith("out=")]
    strange += [f"conf={arguments.conf}"] if arguments.conf else []
    problems += [
        Problem("", f"'{word}': finished runs are as they are; only out=DIR can be given", COMMAND_LINE)
        for word in strange
    ]
    if problems:
        raise ConfigError(problems)
    from framework.study.compare import compare_runs

    compare_runs([Path(name) for name in arguments.names], out=options.out, console=console())
    return EXIT_OK


def _options(words: Sequence[str], problems: list[Problem]) -> Options:
    given = dict(word.split("=", 1) for word in words)
    if len(given) < len(words):
        problems.append(Problem("", "an option of compare is given twice", COMMAND_LINE))
    numbers = {name: number(name, given, problems) for name in ("jobs", "threads", "tune_seeds")}
    chosen = (seeds(given["seeds"], problems) if "seeds" in given else ()) or Options.seeds
    tune_seeds = numbers["tune_seeds"] or Options.tune_seeds
    if tune_seeds > len(chosen):
        problems.append(Problem("tune_seeds", f"there are only {len(chosen)} seeds", COMMAND_LINE))
    study, out = place(given, problems)
    return Options(
        given.get("arms"),
        chosen,
        tune_seeds,
        numbers["jobs"],
        numbers["threads"] or Options.threads,
        study,
        out,
        is_dry(given, problems),
    )
