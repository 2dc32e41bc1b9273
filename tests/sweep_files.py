"""The folder of a sweep as its last process leaves it, made of numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

SPACE = {
    "optimizer.lr": "log(0.0001,0.1)",
    "policy.clip": "choice(1,2,4)",
    "policy": "choice(erm,rgd)",
    "train.epochs": "int(5,20)",
}


def content(count: int = 24, *, name: str = "vit_rgd", policy: str = "rgd") -> dict[str, Any]:
    """sweep.json: every sixth trial was pruned, the fourth failed."""
    trials = []
    for k in range(count):
        rate = 10 ** (-4 + 3 * ((k * 7) % count) / count)
        state = "failed" if k == 3 else "pruned" if k % 6 == 5 else "complete"
        value = 0.9 - 0.05 * (math.log10(rate) + 2.2) ** 2 - 0.01 * (k % 3)
        trials.append(
            {
                "number": k,
                "state": state,
                "parameters": {
                    "optimizer.lr": rate,
                    "policy.clip": str(2 ** (k % 3)),
                    "policy": policy if k % 2 else "erm",
                    "train.epochs": 5 + k % 16,
                },
                "value": value if state == "complete" else None,
                "by_seed": {"0": value} if state == "complete" else {},
                "evaluations": {"1": value - 0.2, "2": value - 0.1},
                "reason": "the loss is not finite" if state == "failed" else "",
                "seconds": 12.5,
                "host": "node-1",
                "folder": f"trial-{k:04d}/seed-0",
            }
        )
    best = max((trial for trial in trials if trial["value"] is not None), key=lambda trial: trial["value"])
    finals = {"test": {"0": {"split": "test", "worst_group_accuracy": 0.81}}}
    return {
        "version": 1,
        "command": ["python", "-m", "framework", "sweep", "conf=vit_rgd.yaml"],
        "storage": "trials.db",
        "name": name,
        "conf": "vit_rgd.yaml",
        "metric": "worst_group_accuracy",
        "split": "validation",
        "maximize": True,
        "space": SPACE,
        "log_scale": ["optimizer.lr"],
        "seeds": [0],
        "sampler": "tpe",
        "pruner": "median",
        "verdicts": [
            f"Trial {best['number']} is the best of {count}: worst_group_accuracy {best['value']:.4f}."
        ],
        "best": {"number": best["number"], "value": best["value"], "finals": finals},
        "importances": {"optimizer.lr": 0.7, "policy.clip": 0.2, "train.epochs": 0.08, "policy": 0.02},
        "trials": trials,
    }


def write_sweep(folder: Path, data: dict[str, Any] | None = None) -> Path:
    """The folder, with the page of the first trial."""
    (folder / "sweep.json").write_text(json.dumps(data or content()))
    (folder / "trial-0000/seed-0").mkdir(parents=True)
    (folder / "trial-0000/seed-0/report.html").write_text("<!doctype html>")
    return folder
