"""A planned recipe from its first phase to the table of what came out."""

from __future__ import annotations

from rich.console import Console

from framework.errors import EXIT_FAILED, EXIT_OK, EXIT_REQUEUE
from framework.files import replace_text, writing
from framework.study.board import Board
from framework.study.folder import opened
from framework.study.job import Outcome
from framework.study.output import is_live, print_line, print_table
from framework.study.processes import Stop
from framework.study.recipe.plan import RECIPE, Making, RecipePlan
from framework.study.recipe.table import result_rows
from framework.study.results import read_result
from framework.study.run_jobs import run_jobs
from framework.study.tables import markdown_table

MARKDOWN = "recipe.md"


def run_recipe(plan: RecipePlan, *, threads: int, console: Console) -> int:
    """Run what is not finished yet, phase after phase; returns the exit code.

    Args:
        plan: what to run.
        threads: CPU threads of each process.
        console: where to tell of it.

    Raises:
        UserError: the folder does not allow it, or cannot be written.
    """
    rule = plan.phases[-1].loaded.config.select
    total = sum(len(phase.jobs) for phase in plan.phases)
    with (
        opened(plan.folder, plan.content(), plan.check, file=RECIPE, kind="recipe"),
        Stop() as stop,
        Board(console, total=total, metric=rule.metric, split=rule.split, live=is_live()) as board,
    ):
        print_line(console, f"{', '.join(phase.training.name for phase in plan.phases)}: {plan.folder}")
        for phase in plan.phases:
            for job in phase.jobs:
                outcome = run_jobs([[job]], jobs=1, threads=threads, watcher=board, stop=stop)[job]
                if outcome.state != "finished":
                    return _unfinished(console, job.name, outcome, str(job.log), stopped=stop.count > 0)
                if isinstance(job, Making):
                    print_line(console, f"    {_last_line(job)}")
        first, last = (read_result(phase.training.folder) for phase in (plan.phases[0], plan.phases[-1]))
        names = (plan.phases[0].training.name, plan.phases[-1].training.name)
        title, headings, rows = result_rows(first, last, names)
        with writing(plan.folder / MARKDOWN):
            text = f"# {plan.recipe.config.name}: {title}\n\n{markdown_table(headings, rows)}\n"
            replace_text(plan.folder / MARKDOWN, text)
    print_table(console, title, headings, rows)
    print_line(console)
    print_line(
        console, f"saved: {plan.folder / MARKDOWN}; the final run is {plan.phases[-1].training.folder}"
    )
    return EXIT_OK


def _unfinished(console: Console, name: str, outcome: Outcome, log: str, *, stopped: bool) -> int:
    if stopped or outcome.state != "failed":
        print_line(console, "stopped before all phases were finished; the same command goes on from there")
        return EXIT_REQUEUE
    print_line(console, f"failed: {name}: {outcome.reason} (see {log})")
    return EXIT_FAILED


def _last_line(job: Making) -> str:
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if job.log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), str(job.path))
