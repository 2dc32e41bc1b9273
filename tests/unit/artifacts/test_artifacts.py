"""Artifacts against the same numbers computed by hand from exported weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from framework.__main__ import main
from framework.checkpoint.export import export
from framework.config.load import load
from framework.data.build import build_data
from framework.data.group_weights import read_weights
from framework.data.randomness import generator
from framework.training.assemble import assemble
from tests.distributed import run_ranks
from tests.tiny import comparable, write

LANGUAGE = """
defaults: [lm_python, override reporting: quiet, _self_]
name: words
data: {source: {length: 16, max_tokens: 2000, cut_documents: 200}, splits: {seed: 0}}
model: {width: 16, layers: 1, heads: 2}
batch: {size: 8}
train: {epochs: null, steps: 3}
task: {unit: token}
callbacks: []
run: {report: false}
"""


def trained(folder: Path, *words: str) -> Path:
    """A finished tiny run."""
    conf = write(folder)
    assert main([f"conf={conf}", *words, f"run.dir={folder}/run"]) == 0
    return folder / "run"


def produced(run: Path, *words: str) -> Path:
    assert main(["produce", str(run), *words]) == 0
    return run / "artifacts" / words[0]


def exported(run: Path, which: str) -> dict[str, torch.Tensor]:
    return load_file(export(run, run / f"{which}.safetensors", which))


def outputs(weights: dict[str, torch.Tensor], inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and logits of the tiny run's MLP with one hidden layer."""
    (first, first_bias), (last, last_bias) = (
        (weights[f"{name}.weight"], weights[f"{name}.bias"])
        for name in dict.fromkeys(key.rpartition(".")[0] for key in weights)
    )
    features = F.relu(F.linear(inputs.flatten(1), first, first_bias))
    return features, F.linear(features, last, last_bias)


def split_of(run: Path, split: str) -> tuple[Any, torch.Tensor, np.ndarray]:
    config = load(str(run)).config
    data = build_data(config.data, config.seed)
    dataset = data.splits[split]
    inputs, targets = dataset.fetch(np.arange(len(dataset)), None)
    return inputs, targets, data.groups.assign(dataset, split)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["data=digits_spurious", "policy=group_dro", "train.steps=25", "evaluate.every_steps=5"]
    return trained(tmp_path_factory.mktemp("run"), *words)


def test_errors_and_losses_are_those_of_the_weights(run: Path) -> None:
    inputs, targets, _ = split_of(run, "train")
    errors = np.load(produced(run, "errors").with_suffix(".npy"))
    _, logits = outputs(exported(run, "latest"), inputs)
    assert errors.dtype == np.int64
    assert np.array_equal(errors, (logits.argmax(1) != targets).long().numpy())
    assert 0 < errors.sum() < len(errors)
    losses = np.load(produced(run, "losses", "checkpoint=best").with_suffix(".npy"))
    _, logits = outputs(exported(run, "best"), inputs)
    assert losses.dtype == np.float32
    assert losses == pytest.approx(F.cross_entropy(logits, targets, reduction="none").numpy(), abs=1e-6)


def test_the_policy_state_draws_the_samples_of_the_next_run(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["produce", str(run), "policy_state", f"out={tmp_path}/mixture.json"]) == 0
    last = [r for r in comparable(run / "metrics.jsonl") if r["event"] == "policy"][-1]["q"]
    mixture = read_weights(str(tmp_path / "mixture.json"))
    assert list(mixture) == list(last)
    assert list(mixture.values()) == pytest.approx(list(last.values()), abs=1e-9)
    assert sum(mixture.values()) == pytest.approx(1)
    drawn = ["data.sampling.name=weighted", f"data.sampling.weights={tmp_path}/mixture.json"]
    assert main(["check", f"conf={run}", "run.dir=null", *drawn]) == 0
    assert main(["check", f"conf={run}", "run.dir=null", *drawn, "data.groups=[label]"]) == 2
    assert "data.sampling.weights  no group" in capsys.readouterr().err


def test_the_last_layer_is_the_mean_of_balanced_regressions(run: Path, tmp_path: Path) -> None:
    """With one C there is nothing to choose; the fits are repeated here as scikit-learn is used plainly."""
    produced(run, "last_layer", "num_retrains=3", "c=[0.1]")
    weights = exported(run, "best")
    training, _ = outputs(weights, split_of(run, "train")[0])
    inputs, targets, groups = split_of(run, "validation")
    features, _ = outputs(weights, inputs)
    mean, deviation = training.double().mean(0).numpy(), training.double().std(0, correction=0).numpy()
    deviation[deviation == 0] = 1
    slopes, intercepts = [], []
    for number in range(3):
        random = generator(0, "last_layer", "retrain", number)
        smallest = np.bincount(groups).min()
        chosen = [random.permutation(np.flatnonzero(groups == group))[:smallest] for group in range(4)]
        rows = np.sort(np.concatenate(chosen))
        assert np.bincount(groups[rows]).tolist() == [smallest] * 4
        model = LogisticRegression(l1_ratio=1.0, C=0.1, solver="liblinear", random_state=0)
        model.fit((features.double().numpy()[rows] - mean) / deviation, targets.numpy()[rows])
        slopes.append(model.coef_[0])
        intercepts.append(model.intercept_[0])
    folder = tmp_path / "retrained"
    assert main([f"conf={run}", f"resume={run}/artifacts/last_layer", f"run.dir={folder}"]) == 0
    new = exported(folder, "latest")
    names = list(dict.fromkeys(key.rpartition(".")[0] for key in new))
    assert all(
        torch.equal(new[f"{names[0]}.{part}"], weights[f"{names[0]}.{part}"]) for part in ("weight", "bias")
    )
    inputs, targets, groups = split_of(run, "test")
    features, _ = outputs(weights, inputs)
    expected = (features.double().numpy() - mean) / deviation @ np.mean(slopes, 0) + np.mean(intercepts)
    _, logits = outputs(new, inputs)
    assert (logits[:, 1] - logits[:, 0]).numpy() == pytest.approx(expected, abs=1e-4)
    records = comparable(folder / "metrics.jsonl")
    final = next(r for r in records if r.get("final") and r["split"] == "test")
    correct = (expected > 0) == targets.numpy().astype(bool)
    by_group = [correct[groups == group].mean() for group in range(4)]
    assert [group["accuracy"] for group in final["groups"]] == pytest.approx(by_group)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model's run, with its losses."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "words.yaml").write_text(LANGUAGE)
    words = [f"conf={folder}/words.yaml", f"run.dir={folder}/run", "evaluate.batch_size=7"]
    assert main(words) == 0
    assert main(["produce", f"{folder}/run", "losses", "per=token"]) == 0
    return folder / "run"


def test_several_ranks_give_the_same_bits(reference: Path, tmp_path: Path) -> None:
    conf, run = reference.with_name("words.yaml"), reference
    alone = np.load(run / "artifacts" / "losses.npy")
    run_ranks(_produce, 2, [str(run), "losses", "per=token", f"out={tmp_path}/two.npy"])
    assert np.array_equal(np.load(tmp_path / "two.npy"), alone)
    data = build_data(load(str(run)).config.data, 0)
    _, targets = data.splits["train"].fetch(np.arange(len(alone)), None)
    counted = targets.numpy() != -100
    assert alone.shape == targets.shape
    assert (alone[~counted] == 0).all()
    assert (alone[counted] > 0).all()
    words = [f"conf={conf}", f"run.dir={tmp_path}/again", "evaluate.final=[train]"]
    assert main([*words, f"resume={run}"]) == 0
    final = next(r for r in comparable(tmp_path / "again" / "metrics.jsonl") if r.get("final"))
    assert alone[counted].astype(np.float64).mean() == pytest.approx(final["token_loss"], rel=1e-6)


def test_a_model_has_no_excess_over_its_own_losses(reference: Path) -> None:
    """A token beside its place, anywhere between the file and the proxy's batches, would show here."""
    column = f"{{name: extra_column, column: token_baseline_loss, path: {reference}/artifacts/losses.npy}}"
    words = ["policy=doremi", "data.sampling.name=group_balanced", f"data.transforms=[{column}]"]
    proxy = assemble(load(str(reference.with_name("words.yaml")), words).config)
    proxy.engine.model.load_state_dict(exported(reference, "best"))
    seen = set()
    with torch.no_grad():
        for batch, _ in zip(proxy.loader, range(20), strict=False):
            for micro in batch.micros:
                columns = proxy.task.columns(proxy.engine.forward(micro.inputs), micro)
                assert columns["excess_loss"].abs().max() < 1e-5
                assert columns["baseline_loss"].min() > 0
                seen.update(micro.index.tolist())
    assert len(seen) > 20


def _produce(words: Sequence[str]) -> None:
    assert main(["produce", *words]) == 0


def test_what_a_run_cannot_give(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["produce", *words]) == 2
        return capsys.readouterr().err

    assert "nowhere is not a run folder" in refused("nowhere", "errors")
    assert "unknown artifact 'error'; did you mean errors?" in refused(str(run), "error")
    told = refused(str(run), "last_layer", "layr=x", "num_retrains=0")
    assert "did you mean layer?" in told
    assert "num_retrains  must be at least 1" in told
    assert "no linear layer 'head'" in refused(str(run), "last_layer", "layer=head")
    assert "has no 'p'" in refused(str(run), "policy_state", "state=p")
    assert "losses per token are those of a language model" in refused(str(run), "losses", "per=token")
    assert "usage:" in refused(str(run))
    (tmp_path / "taken").write_text("")
    assert "taken" in refused(str(run), "errors", f"out={tmp_path}/taken/errors.npy")
