"""A sweep on the disk: the best configuration, all trials as CSV, everything as JSON, and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from framework.config import text
from framework.files import replace_text, writing
from framework.reporting.report.read import REPORT
from framework.reporting.report.write import write_report
from framework.run_folder import environment
from framework.study.files import finite
from framework.study.sweep.candidate import Candidate
from framework.study.sweep.plan import SweepPlan

JSON = "sweep.json"
CSV = "trials.csv"
BEST = "best.yaml"
NAMES = (BEST, CSV, JSON, REPORT)
VERSION = 1


def save(
    plan: SweepPlan,
    candidates: Sequence[Candidate],
    best: Candidate | None,
    *,
    verdicts: Sequence[str],
    importances: Mapping[str, float],
    finals: Mapping[str, Mapping[int, Mapping[str, Any]]],
    provenance: Mapping[str, Any],
) -> list[str]:
    """Write the files; returns their names.

    Args:
        plan: the sweep.
        candidates: all trials.
        best: the chosen one, None if none is complete.
        verdicts: the sentences about them.
        importances: of the parameters.
        finals: split -> seed -> evaluation record, of the best trial alone.
        provenance: how the trials were made, e.g. command and storage.

    Raises:
        UserError: the folder cannot be written.
    """
    data = {
        "version": VERSION,
        **provenance,
        "name": plan.loaded.config.name,
        "conf": plan.conf,
        "common": list(plan.common),
        "metric": plan.metric,
        "split": plan.split,
        "maximize": plan.maximize,
        **plan.identity(),
        "num_trials": plan.num_trials,
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "environment": environment(),
        "verdicts": list(verdicts),
        "best": None if best is None else {"number": best.number, "value": best.value, "finals": finals},
        "importances": dict(importances),
        "trials": [{**asdict(each), "folder": folder_of(plan, each)} for each in candidates],
        "log_scale": [parameter.key for parameter in plan.space if getattr(parameter, "log", False)],
    }
    with writing(plan.folder):
        written = json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
        replace_text(plan.folder / JSON, f"{written}\n")
        replace_text(plan.folder / CSV, _csv(plan, candidates))
        if best is not None:
            replace_text(plan.folder / BEST, best_yaml(plan, best))
    write_report(plan.folder)
    return [name for name in NAMES if best is not None or name != BEST]


def folder_of(plan: SweepPlan, candidate: Candidate) -> str:
    """The run with the first seed, as seen from the folder of the sweep."""
    run = plan.trial(candidate.number, candidate.parameters, plan.seeds[0]).folder
    return run.relative_to(plan.folder).as_posix()


def best_yaml(plan: SweepPlan, best: Candidate) -> str:
    """The whole configuration of a trial, as a run file, under lines that say where it is from."""
    settings = ", ".join(f"{key}={value!r}" for key, value in best.parameters.items())
    seeds = ", ".join(map(str, best.by_seed))
    lines = [
        f"The best of the sweep {plan.study}: trial {best.number}.",
        f"{plan.metric} on {plan.split} {best.value!r} (seeds: {seeds})",
        f"Searched: {settings}",
        f"The rest is from {' '.join(['conf=' + plan.conf, *plan.common])}",
    ]
    header = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return header + text.dump(plan.load(best.parameters).data)


def _csv(plan: SweepPlan, candidates: Sequence[Candidate]) -> str:
    keys = [parameter.key for parameter in plan.space]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    seeds = [f"seed {seed}" for seed in plan.seeds] if len(plan.seeds) > 1 else []
    writer.writerow(["trial", "state", plan.metric, *seeds, *keys, "seconds", "host", "reason", "folder"])
    for each in candidates:
        by_seed = [each.by_seed.get(seed) for seed in plan.seeds] if seeds else []
        values = [each.parameters.get(key) for key in keys]
        row = [each.number, each.state, each.value, *by_seed, *values, each.seconds, each.host, each.reason]
        writer.writerow([*row, folder_of(plan, each)])
    return file.getvalue()
