"""`compare`: run what is planned, or take finished runs; print the tables and save them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from framework.errors import EXIT_FAILED, EXIT_OK, EXIT_REQUEUE
from framework.study import files, verdict
from framework.study.arms import arms_of
from framework.study.board import Board
from framework.study.budget import budget, recipes
from framework.study.comparison import Comparison, compare
from framework.study.conduct import Outcomes, conduct, num_jobs
from framework.study.folder import study_folder
from framework.study.output import is_live, print_line, print_table
from framework.study.plan import Plan
from framework.study.processes import Stop, default_jobs
from framework.study.results import read_result
from framework.study.tables import main_rows, other_rows


def run_comparison(plan: Plan, *, jobs: int | None, console: Console) -> int:
    """Run all arms and seeds, then compare them; returns the exit code.

    Raises:
        UserError: the study folder does not allow it, or no run came to its end.
    """
    jobs = jobs if jobs is not None else default_jobs(plan.threads)
    rule = plan.config.config.select
    total = num_jobs(plan.trials())
    with (
        study_folder(plan),
        Stop() as stop,
        Board(console, total=total, metric=rule.metric, split=rule.split, live=is_live()) as board,
    ):
        print_line(
            console, f"{len(plan.grid.arms)} arms, {len(plan.seeds)} seeds, {jobs} at a time: {plan.folder}"
        )
        arms, outcomes = conduct(plan, jobs=jobs, board=board, stop=stop)
        code = _code(outcomes, stopped=stop.count > 0)
    if code == EXIT_REQUEUE:
        print_line(console, "stopped before all runs were finished; the same command goes on from there")
        return code
    comparison = compare(arms)
    lines = [
        *budget(plan.grid, plan.tune_seeds, arms),
        *recipes(plan),
        *verdict.notes(comparison, plan.config.data),
        _costs(jobs, plan.threads),
    ]
    provenance = {
        "command": ["python", "-m", "framework", *sys.argv[1:]],
        "name": plan.config.config.name,
        "seeds": list(plan.seeds),
        "jobs": jobs,
        **plan.identity(),
        "budget": lines[0],
    }
    _publish(console, comparison, lines, provenance, plan.folder)
    _tell_failures(console, outcomes)
    return code


def compare_runs(folders: Sequence[Path], *, out: Path | None, console: Console) -> None:
    """Compare finished runs; the files are written where `out` says.

    Raises:
        UserError: a folder holds no complete run, or the runs cannot be compared.
    """
    results = [read_result(folder) for folder in folders]
    comparison = compare(arms_of(results))
    lines = verdict.notes(comparison, results[0].config)
    provenance = {
        "command": ["python", "-m", "framework", *sys.argv[1:]],
        "name": results[0].config["name"],
        "seeds": sorted({result.seed for result in results}),
    }
    _publish(console, comparison, lines, provenance, out)


def _code(outcomes: Outcomes, *, stopped: bool) -> int:
    states = {outcome.state for outcome in outcomes.values()}
    if states == {"finished"}:
        return EXIT_OK
    return EXIT_REQUEUE if stopped or "failed" not in states else EXIT_FAILED


def _publish(
    console: Console,
    comparison: Comparison,
    lines: Sequence[str],
    provenance: Mapping[str, Any],
    folder: Path | None,
) -> None:
    said, summary = verdict.verdicts(comparison), verdict.summary(comparison)
    print_line(console)
    for sentence in filter(None, (summary, *said)):
        console.print(Text(sentence, style="bold"), soft_wrap=not console.is_terminal)
    title = f"{comparison.metric} on {comparison.split}"
    print_table(console, title, *main_rows(comparison))
    if len(comparison.metrics) > 1:
        print_table(console, f"other metrics on {comparison.split}, mean ± std", *other_rows(comparison))
    print_line(console)
    for sentence in lines:
        if console.is_terminal:
            console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 2)))
        else:
            print_line(console, f"  {sentence}")
    if folder is not None:
        files.save(folder, comparison, summary=summary, verdicts=said, notes=lines, provenance=provenance)
        print_line(console)
        print_line(
            console,
            f"saved: {', '.join(str(folder / name) for name in files.NAMES)}",
        )


def _costs(jobs: int, threads: int) -> str:
    shared = f" with {jobs} runs at a time on one machine" if jobs > 1 else ""
    return f"Time and memory are those of processes with {threads} CPU thread(s){shared}, libraries included."


def _tell_failures(console: Console, outcomes: Outcomes) -> None:
    for trial, outcome in outcomes.items():
        if outcome.state == "failed":
            print_line(console, f"failed: {trial.name}: {outcome.reason} (see {trial.log})")
