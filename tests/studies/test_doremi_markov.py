"""DoReMi in miniature: domains of letters by Markov chains, one of them pure noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from framework.__main__ import main

SEEDS = range(5)
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwx", dtype=np.uint8)
#: domain -> letters of text, and how many letters may follow each one: all of them is noise
DOMAINS = {"easy": (40_000, 2), "medium": (12_000, 4), "hard": (12_000, 4), "noise": (12_000, 24)}
LENGTH = 32
STEPS = 250


def write_texts(folder: Path) -> None:
    """Documents of 320 letters; the next letter of `hard` depends on two letters, of the others on one."""
    random = np.random.default_rng(0)
    for name, (size, branches) in DOMAINS.items():
        shape = (24, 24) if name == "hard" else (24, 1)
        follow = np.stack([random.permutation(24)[:branches] for _ in range(shape[0] * shape[1])])
        lines = []
        for _ in range(size // 320):
            letters = [0, 0]
            for _ in range(318):
                state = letters[-1] * shape[1] + (letters[-2] if shape[1] > 1 else 0)
                letters.append(int(follow[state][random.integers(branches)]))
            lines.append(LETTERS[letters].tobytes().decode())
        (folder / name).mkdir()
        for number, line in enumerate(lines):
            (folder / name / f"{number:04}.txt").write_text(line)


def words(folder: Path) -> list[str]:
    source = f"{{name: text, path: {folder}/texts, length: {LENGTH}}}"
    model = "{name: transformer_lm, preset: 1m, width: 32, layers: 1, heads: 2, init_std: 0.1}"
    every = "evaluate.every_epochs=null"
    length = ["train.epochs=null", f"train.steps={STEPS}", "batch.size=32", "optimizer.lr=1e-2"]
    return [f"data.source={source}", f"model={model}", every, "reporting=quiet", *length]


def last(run: Path, event: str, split: str = "") -> dict[str, object]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [r for r in records if r["event"] == event and (not split or r.get("split") == split)][-1]


def row(name: str, shares: list[dict[str, float]]) -> str:
    cells = (
        f"{np.mean([share[d] for share in shares]):.2f} ({min(s[d] for s in shares):.2f}"
        f" to {max(s[d] for s in shares):.2f})"
        for d in DOMAINS
    )
    return f"| {name} | {' | '.join(cells)} |"


def losses(run: Path) -> dict[str, float]:
    groups = last(run, "evaluation", "test")["groups"]
    assert isinstance(groups, list)
    return {group["name"]: group["loss"] for group in groups}


@pytest.mark.slow
def test_excess_loss_does_not_chase_noise(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path / "texts")
    excess, raw, before, after = [], [], [], []
    for seed in SEEDS:
        out = tmp_path / f"recipe-{seed}"
        common = [*words(tmp_path), f"seed={seed}"]
        assert main(["recipe", "conf=recipe/doremi_text", *common, f"out={out}"]) == 0
        state = json.loads((out / "proxy" / "artifacts" / "policy_state.json").read_text())
        excess.append(dict(zip(state["groups"], state["weights"], strict=True)))
        before.append(losses(out / "reference"))
        after.append(losses(out / "final"))
        # The same adversary on the raw loss: the excess over a reference that is always right.
        reference = np.load(out / "reference" / "artifacts" / "losses.npy")
        np.save(tmp_path / "zeros.npy", np.zeros_like(reference))
        column = f"{{name: extra_column, column: token_baseline_loss, path: {tmp_path}/zeros.npy}}"
        proxy = ["policy=doremi", "data.sampling.name=group_balanced", f"data.transforms=[{column}]"]
        run = tmp_path / f"raw-{seed}"
        assert main(["conf=lm_python", *common, *proxy, "data.splits.seed=0", f"run.dir={run}"]) == 0
        record = last(run, "policy")["alpha_average"]
        assert isinstance(record, dict)
        raw.append(record)
    print(f"\n| mean of alpha ({len(SEEDS)} seeds) | {' | '.join(DOMAINS)} |")
    print("|---|---|---|---|---|")
    print(row("raw loss", raw))
    print(row("excess loss (DoReMi)", excess))
    print(f"\n| test loss ({len(SEEDS)} seeds) | {' | '.join(DOMAINS)} |")
    print("|---|---|---|---|---|")
    print(row("natural proportions", before))
    print(row("mixture of DoReMi", after))
    assert all(max(share, key=share.__getitem__) == "noise" for share in raw)
    assert all(share["noise"] > 0.5 for share in raw)
    assert all(share["noise"] < theirs["noise"] / 2 for share, theirs in zip(excess, raw, strict=True))
