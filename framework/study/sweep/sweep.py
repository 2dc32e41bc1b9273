"""`sweep`: work on the trials, then judge, measure the best one on the test split, print and save."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from framework.errors import EXIT_FAILED, EXIT_OK, EXIT_REQUEUE, ConfigError
from framework.reporting.text import duration, number
from framework.study.board import Board
from framework.study.folder import opened
from framework.study.output import is_live, print_line, print_table
from framework.study.processes import Processes, Stop, default_jobs
from framework.study.results import read_result
from framework.study.sweep import files, verdict
from framework.study.sweep.candidate import Candidate, ranked
from framework.study.sweep.conduct import Conductor
from framework.study.sweep.plan import SweepPlan
from framework.study.sweep.storage import without_password
from framework.study.sweep.trials import CONFIG, Trials
from framework.study.trial import Trial

_DATABASE = "trials.db"
#: rows of the table; the files have all
_MAX_ROWS = 10

Finals = dict[str, dict[int, Mapping[str, Any]]]


def run_sweep(plan: SweepPlan, *, jobs: int | None, console: Console) -> int:
    """Work on the sweep until it is complete, then publish it; returns the exit code.

    Raises:
        UserError: the folder or the storage does not allow it.
    """
    jobs = min(jobs if jobs is not None else default_jobs(plan.threads), plan.num_trials)
    storage = plan.storage or f"sqlite:///{plan.folder.resolve() / _DATABASE}"
    kept_in = without_password(plan.storage) if plan.storage else _DATABASE
    content = {"version": 1, "storage": kept_in, **plan.identity()}
    with opened(plan.folder, content, lambda saved: _check(plan, kept_in, saved), shared=True):
        trials = Trials(
            storage,
            plan.study,
            plan.space,
            num_trials=plan.num_trials,
            maximize=plan.maximize,
            sampler=plan.sampler,
            pruner=plan.pruner,
            sweep={**plan.identity(), CONFIG: plan.loaded.data},
        )
        total = trials.missing() * len(plan.seeds)
        with (
            Stop() as stop,
            Board(console, total=total, metric=plan.metric, split=plan.split, live=is_live()) as board,
        ):
            print_line(console, f"{_of(trials.missing(), plan)}, {jobs} at a time: {plan.folder}")
            Conductor(plan, trials, jobs=jobs, board=board, stop=stop).conduct()
        if stop.count:
            print_line(
                console, "stopped before all trials were complete; the same command goes on from there"
            )
            trials.close()
            return EXIT_REQUEUE
        code = _publish(plan, trials, kept_in, console)
        trials.close()
        return code


def _of(missing: int, plan: SweepPlan) -> str:
    seeds = f", {len(plan.seeds)} seeds each" if len(plan.seeds) > 1 else ""
    return f"{missing} of {plan.num_trials} trials to go{seeds}"


def _check(plan: SweepPlan, kept_in: str, saved: Mapping[str, Any]) -> None:
    """What differs in the sweep itself its storage says."""
    if "arms" in saved:
        raise ConfigError(f"{plan.folder} holds a comparison: choose another study=NAME or out=DIR")
    if saved.get("storage") != kept_in:
        raise ConfigError(
            f"the trials of the sweep in {plan.folder} are kept in {saved.get('storage')}: give the same"
            " storage, or choose another study=NAME or out=DIR"
        )


def _publish(plan: SweepPlan, trials: Trials, storage: str, console: Console) -> int:
    candidates = trials.candidates()
    order = ranked(candidates, maximize=plan.maximize)
    best = order[0] if order else None
    finals, remarks = _measure(plan, best) if best is not None else ({}, [])
    tests = {
        split: {seed: float(record[plan.metric]) for seed, record in by_seed.items()}
        for split, by_seed in finals.items()
    }
    importances = trials.importances()
    said = [*verdict.verdicts(plan, candidates, tests), *remarks]
    print_line(console)
    for place, sentence in enumerate(said):
        console.print(Text(sentence, style="" if place else "bold"), soft_wrap=not console.is_terminal)
    if order:
        print_table(console, f"{plan.metric} on {plan.split}, the best trials", *_rows(plan, order))
    if importances:
        rows = [[key, f"{share:.2f}"] for key, share in importances.items()]
        print_table(console, "importance", ["parameter", "share"], rows)
    print_line(console)
    print_line(console, _states(candidates))
    provenance = {"command": _command(plan), "storage": storage}
    names = files.save(
        plan, candidates, best, verdicts=said, importances=importances, finals=finals, provenance=provenance
    )
    print_line(console, f"saved: {', '.join(str(plan.folder / name) for name in names)}")
    if best is not None:
        print_line(console, f"train it:  python -m framework conf={plan.folder / files.BEST}")
    return EXIT_OK if order else EXIT_FAILED


def _measure(plan: SweepPlan, best: Candidate) -> tuple[Finals, list[str]]:
    """The final splits at the selected checkpoints of one trial; and what stood in the way."""
    runs = [plan.trial(best.number, best.parameters, seed) for seed in plan.seeds]
    if not all(run.folder.is_dir() for run in runs):
        missing = f"The runs of trial {best.number} are not here but on {best.host}: measure them there with"
        return {}, [f"{missing} `python -m framework evaluate RUN`, or train {files.BEST}."]
    remarks: list[str] = []
    finals: Finals = {}
    with Processes[Trial](plan.threads) as processes:
        for split, run in itertools.product(plan.final_splits, runs):
            processes.start(replace(run, words=("evaluate", str(run.folder), f"split={split}")))
            while not (ended := processes.ended()):
                pass
            if ended[0][1].state == "finished":
                finals.setdefault(split, {})[run.seed] = read_result(run.folder).final[split]
            else:
                remarks.append(
                    f"No {split} numbers for seed {run.seed}: {ended[0][1].reason} (see {run.log})."
                )
    return finals, remarks


def _rows(plan: SweepPlan, order: Sequence[Candidate]) -> tuple[list[str], list[list[str]]]:
    keys = [parameter.key for parameter in plan.space]
    names = [key.rpartition(".")[2] for key in keys]
    headings = [
        "trial",
        plan.metric,
        *(name if names.count(name) == 1 else key for key, name in zip(keys, names, strict=True)),
        "time",
    ]
    rows = [
        [
            str(each.number),
            number(each.value),
            *(verdict.shown(each.parameters[key]) for key in keys),
            duration(each.seconds) if each.seconds is not None else "-",
        ]
        for each in order[:_MAX_ROWS]
    ]
    return headings, rows


def _states(candidates: Sequence[Candidate]) -> str:
    states = [each.state for each in candidates]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    reasons = list(dict.fromkeys(f"trial {each.number}: {each.reason}" for each in candidates if each.reason))
    failed = f"; {'; '.join(reasons[:3])}" if reasons else ""
    return f"{', '.join(counts)}{failed}"


def _command(plan: SweepPlan) -> list[str]:
    words = sys.argv[1:]
    if plan.storage is not None:
        shown = f"storage={without_password(plan.storage)}"
        words = [shown if word == f"storage={plan.storage}" else word for word in words]
    return ["python", "-m", "framework", *words]
