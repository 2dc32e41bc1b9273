"""A language model on blocks of uneven length gives the same numbers on any engine, in both units."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from framework.parallel.world import World
from tests.distributed import run_ranks
from tests.equivalence.matrix import Case, differences, outcome, outcomes

RUN = """
defaults:
  - base
  - model: transformer_lm
  - task: language_modeling
  - policy: erm
  - optimizer: sgd
  - schedule: constant
  - engine: single
  - override reporting: quiet
  - _self_
name: language
data:
  source: {{name: text, path: {folder}, length: 12}}
  splits: {{validation: 0.15, test: 0, stratify: null}}
  groups: [domain]
model: {{width: 16, layers: 2, heads: 2, mlp_ratio: 2.0, tied_embeddings: {tied}}}
task: {{unit: {unit}}}
train: {{epochs: null, steps: 20}}
select: {{metric: perplexity}}
"""
#: of each, (policy, unit, micro-batches, tied); two ranks have 4 or 2 blocks each, of 1 to 12 counted tokens
CASES = [
    ("erm", "token", 1, True),
    ("group_dro", "token", 2, False),
    ("group_dro", "sequence", 1, True),
    ("rgd_sum_one", "token", 2, True),
]
ENGINES = ["ddp", "fsdp", *(["zero3"] if importlib.util.find_spec("deepspeed") else [])]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty documents of 1 to 40 bytes, each a domain of its own: most blocks are short."""
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    for number in range(50):
        letters = random.choice(list("abcde fghij"), size=1 + int(random.integers(40)))
        (folder / f"{number:02}").write_text("x" + "".join(letters))
    return folder


def case_of(policy: str, unit: str, tied: bool, texts: Path) -> Case:
    return Case(policy, batch=8, text=RUN.format(folder=texts, unit=unit, tied=str(tied).lower()))


def test_engines_and_micro_batches_give_the_numbers_of_one_process(texts: Path) -> None:
    cases = [
        replace(case_of(policy, unit, tied, texts), micros=micros, engine=(f"engine={engine}",))
        for engine, (policy, unit, micros, tied) in itertools.product(ENGINES, CASES)
    ]
    expected = {
        (policy, unit, tied): outcome(case_of(policy, unit, tied, texts), World())
        for policy, unit, _, tied in CASES
    }
    found = run_ranks(outcomes, 2, cases, timeout=280)[0]
    for case, reached, (policy, unit, _, tied) in zip(cases, found, CASES * len(ENGINES), strict=True):
        assert differences(reached, expected[policy, unit, tied]) == [], case


def test_micro_batches_of_one_process_and_the_unit_matter_as_they_should(texts: Path) -> None:
    by_unit = {unit: outcome(case_of("erm", unit, True, texts), World()) for unit in ("token", "sequence")}
    cut = outcome(replace(case_of("erm", "token", True, texts), micros=4), World())
    assert differences(cut, by_unit["token"]) == []
    assert differences(by_unit["sequence"], by_unit["token"])
