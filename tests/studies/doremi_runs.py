"""Recipes on texts by Markov chains: only through the command line, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.studies.markov_texts import DOMAINS, LENGTH

Numbers = Mapping[str, float]


def recipe(conf: str, out: Path, words: list[str]) -> None:
    """Run it in a process of its own."""
    command = [sys.executable, "-m", "framework", "recipe", f"conf={conf}", *words, f"out={out}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def settings(texts: Path, seed: int) -> list[str]:
    """What all trainings have in common: 250 steps of 32 lines, measured on test text at their end."""
    return [
        f"data.source={{name: text, path: {texts}, length: {LENGTH}}}",
        "data.splits.validation=0.02",
        "data.splits.seed=0",
        f"seed={seed}",
        "train.epochs=null",
        "train.steps=250",
        "batch.size=32",
        "evaluate.every_epochs=null",
        "evaluate.final=[test]",
        "reporting=quiet",
        "run.report=false",
        "callbacks=[]",
    ]


def alpha(run: Path) -> Numbers:
    """The mean of alpha over the steps, by domain."""
    state = json.loads((run / "artifacts" / "policy_state.json").read_text())
    return dict(zip(state["groups"], state["weights"], strict=True))


def excess(run: Path, split: str = "test") -> Numbers:
    """Loss of the selected checkpoint above the entropy, by domain."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    final = next(record for record in records if record.get("final") and record["split"] == split)
    return {group["name"]: group["loss"] - DOMAINS[group["name"]].entropy for group in final["groups"]}
