"""usage: python -m framework sweep conf=FILE key=log(a,b) [key=value ...] [trials=50] [study=NAME]

Search for the setting that is best by the selection metric on validation, and write it as a run file.
The test split is measured once, at the end, for that setting. Started again, the same command goes on;
started several times, also on other machines with one storage=URL, the processes share the work.

  key=log(a,b)        a number between a and b, each order of magnitude equally likely
  key=uniform(a,b)    a number between a and b
  key=int(a,b)        a whole number from a to b; log_int(a,b) by order of magnitude
  key=choice(a,b,c)   one of these; also of a group: policy=choice(erm,rgd)
  space=NAME          the ranges of a file: conf/sweep/NAME.yaml or a path; others are added to it
  trials=50           settings to try, over all processes
  seeds=1             run each setting with seeds 0 to N-1, or these: seeds=[3,7]; the mean is judged
  sampler=tpe         who proposes: tpe, random, grid, gp, qmc, nsgaii and Optuna's others
  pruner=median       stop hopeless runs early: median, hyperband, successive_halving, none
  jobs=N              trials at a time; as many as there are cores, or one if there is a GPU
  threads=1           CPU threads of each run
  storage=URL         where the trials are kept: postgresql://USER:PASSWORD@HOST/NAME, mysql://…, or
                      journal:FILE; a SQLite file in the folder if left out
  study=NAME          the folder is runs/NAME/sweep-STUDY
  out=DIR             the folder itself
  dry=true            validate and say what would be searched, start nothing

exit codes: 0 complete, 1 no trial succeeded, 2 something is wrong with the input, 75 stopped by a signal
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.cli.arguments import parse
from framework.cli.output import console
from framework.cli.study_options import is_dry, number, place, seeds
from framework.config.provenance import COMMAND_LINE
from framework.config.sources import available
from framework.errors import EXIT_OK, ConfigError, Problem, UserError
from framework.naming import listed
from framework.parallel.world import World
from framework.study import grid
from framework.study.sweep import space as spaces

#: options of the command; everything else is part of the configuration
OPTIONS = (
    "trials", "space", "seeds", "sampler", "pruner", "jobs", "threads", "storage", "study", "out", "dry",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What the command was told beside the configuration."""

    trials: int = 50
    space: str | None = None
    seeds: tuple[int, ...] = (0,)
    sampler: str = "tpe"
    pruner: str = "median"
    jobs: int | None = None
    threads: int = 1
    storage: str | None = None
    study: str | None = None
    out: Path | None = None
    dry: bool = False


def main(words: Sequence[str]) -> int:
    """Search, or with `dry=true` say what would be searched."""
    arguments = parse(words)
    arguments.expect_names(0, 0, "sweep conf=FILE key=log(a,b) [key=value ...]")
    if World.detect().size > 1:
        raise UserError("sweep starts the processes itself: run it without torchrun, srun or mpirun")
    if arguments.conf is None:
        raise UserError(f"conf=FILE is missing{listed(available(), 'available')}")
    mine = [word for word in arguments.overrides if word.partition("=")[0] in OPTIONS]
    problems: list[Problem] = []
    options = _options(mine, problems)
    space, common = _space(arguments.conf, options.space, arguments.overrides, problems)
    if not space and not problems:
        message = "nothing to search: give key=log(a,b), uniform, int or choice, or space=NAME"
        problems.append(Problem("", f"{message}{listed(_shipped_spaces())}", COMMAND_LINE))
    from framework.study.sweep.samplers import check_names

    check_names(options.sampler, options.pruner, problems)
    if problems:
        raise ConfigError(problems)
    from framework.study.sweep.plan import make_sweep

    plan = make_sweep(
        arguments.conf,
        common,
        space,
        options.seeds,
        num_trials=options.trials,
        threads=options.threads,
        sampler=options.sampler,
        pruner=options.pruner,
        storage=options.storage,
        study=options.study or "default",
        out=options.out,
    )
    if options.dry:
        way = "largest" if plan.maximize else "smallest"
        print(f"{plan.num_trials} trials for the {way} {plan.metric} on {plan.split}, in {plan.folder}:")
        print("\n".join(f"  {parameter.key}={parameter}" for parameter in plan.space))
        return EXIT_OK
    from framework.study.sweep.sweep import run_sweep

    return run_sweep(plan, jobs=options.jobs, console=console())


def _space(
    conf: str, name: str | None, overrides: Sequence[str], problems: list[Problem]
) -> tuple[list[spaces.Parameter], list[str]]:
    """What is searched, the command line over the file, and the overrides that all trials have."""
    found = spaces.read_space(name, conf, problems) if name is not None else {}
    common: list[str] = []
    given: set[str] = set()
    for word in overrides:
        key = word.partition("=")[0]
        if key in OPTIONS:
            continue
        if key in given:
            problems.append(Problem(key, "is given twice", COMMAND_LINE))
        given.add(key)
        searched = spaces.is_space(word)
        # Its key is judged like that of any override; the value by the grammar of spaces.
        override = grid.read(f"{key}=0" if searched else word, problems)
        if override is None or not grid.allowed(override, searched, OPTIONS, problems):
            continue
        if searched:
            parameter = spaces.parse(word, problems)
            if parameter is not None:
                found[key] = parameter
        elif override.is_sweep_override():
            message = f"several values to choose from are written {key}=choice({word.partition('=')[2]})"
            problems.append(Problem(key, message, COMMAND_LINE))
        else:
            # A value on the command line fixes what the file would search.
            found.pop(key, None)
            common.append(word)
    return list(found.values()), common


def _shipped_spaces() -> list[str]:
    from framework.config.sources import shipped

    return [f"space={path.stem}" for path in sorted((shipped() / spaces.FOLDER).glob("*.yaml"))]


def _options(words: Sequence[str], problems: list[Problem]) -> Options:
    given = dict(word.split("=", 1) for word in words)
    if len(given) < len(words):
        problems.append(Problem("", "an option of sweep is given twice", COMMAND_LINE))
    numbers = {name: number(name, given, problems) for name in ("trials", "jobs", "threads")}
    study, out = place(given, problems)
    return Options(
        numbers["trials"] or Options.trials,
        given.get("space"),
        (seeds(given["seeds"], problems) if "seeds" in given else ()) or Options.seeds,
        given.get("sampler", Options.sampler),
        given.get("pruner", Options.pruner),
        numbers["jobs"],
        numbers["threads"] or Options.threads,
        given.get("storage"),
        study,
        out,
        is_dry(given, problems),
    )
