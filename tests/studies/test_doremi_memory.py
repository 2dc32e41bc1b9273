"""DoReMi over a reference that has learnt its text by heart.

The domains of `test_doremi_markov`, a thirty-second of their text, and references of 1,000 steps: each line
of noise comes some forty times. Nothing of noise can be learnt but by heart, and a loss on training text
that is below the entropy is an excess that no proxy can catch up with.

Predicted before any of it ran: the reference of the last step has a smaller loss of noise on training text
than on held-out text, and gives noise more than 0.15 of alpha; the one that is chosen on validation text
every 50 steps gives it less than that one, in every seed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.studies.doremi_runs import Numbers, alpha, excess, recipe, settings
from tests.studies.markov_texts import write_texts

SEEDS = range(5)
REFERENCE = [
    "data.splits.validation=0.2",
    "reference:train.steps=1000",
    "reference:data.sampling.name=group_balanced",
    "reference:evaluate.final=[train,test]",
]
REFERENCES = {"of the last step": [], "chosen on validation text": ["reference:evaluate.every_steps=50"]}


@dataclass(frozen=True)
class Outcome:
    """One reference: its excess on training and on held-out text, and alpha of the proxy, by domain."""

    training: Numbers
    held_out: Numbers
    alpha: Numbers


def outcomes(folder: Path, seed: int) -> dict[str, Outcome]:
    """Those of one seed, by reference."""
    write_texts(folder / "texts", seed, share=1 / 32)
    found = {}
    for name, words in REFERENCES.items():
        out = folder / name.replace(" ", "_")
        recipe("recipe/doremi_text", out, [*settings(folder / "texts", seed), *REFERENCE, *words])
        run = out / "reference"
        found[name] = Outcome(excess(run, "train"), excess(run, "test"), alpha(out / "proxy"))
    return found


@pytest.mark.slow
def test_a_memorised_reference_asks_for_noise(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        seeds = list(pool.map(lambda seed: outcomes(tmp_path / str(seed), seed), SEEDS))
    headings = ["noise: excess on training text", "on held-out text", "alpha of noise"]
    print(f"\n| reference ({len(SEEDS)} seeds) | {' | '.join(headings)} |")
    print("|---|---|---|---|")
    for name in REFERENCES:
        rows = np.array(
            [(s[name].training["noise"], s[name].held_out["noise"], s[name].alpha["noise"]) for s in seeds]
        )
        cells = [f"{row.mean():.2f} ({row.min():.2f} to {row.max():.2f})" for row in rows.T]
        print(f"| {name} | {' | '.join(cells)} |")
    for last, chosen in (tuple(seed.values()) for seed in seeds):
        assert last.training["noise"] < last.held_out["noise"]
        assert last.alpha["noise"] > 0.15
        assert chosen.alpha["noise"] < last.alpha["noise"]
