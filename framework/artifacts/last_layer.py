"""The same model with a last layer that was trained anew on group-balanced held-out data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from framework.artifacts.base import Artifact, Which
from framework.artifacts.logistic import LinearHead, balanced_subset, fit_head, worst_group_accuracy
from framework.artifacts.rows import rows_of
from framework.config.schema import RunConfig
from framework.data.batch import Batch
from framework.data.randomness import generator
from framework.errors import DataError, TrainingError
from framework.naming import nearest
from framework.options import Count, Positive
from framework.registry import register

if TYPE_CHECKING:
    from framework.checkpoint.checkpoint import Checkpoint
    from framework.training.assemble import Run

#: the inverse strengths of the L1 penalty that the authors try on Waterbirds
C_OPTIONS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


@register.artifact("last_layer")
class LastLayer(Artifact):
    """Deep feature reweighting: L1 logistic regression on the features of a trained model.

    Kirichenko et al., ICLR 2023 (arXiv 2204.02937), as DFR on validation data in the authors' code
    (PolinaKirichenko/deep_feature_reweighting, `dfr_evaluate_spurious.py`): features are standardised;
    C is the one with the best worst group on a random half of the validation split after a fit on the
    other half, cut so that every group is as large as the smallest; the layer is the mean of
    `num_retrains` fits on such subsets of the whole split, standardised by the training split. It is
    written as a checkpoint that a run of the same configuration starts from, with `resume`, and whose
    training is complete, so that this run evaluates it. With more than two classes there is one
    regression per class against the others.

    Args:
        layer: name of the linear layer; null takes the model's last `torch.nn.Linear`.
        c: inverse strengths of the L1 penalty to choose from.
        num_retrains: fits that are averaged.
        checkpoint: whose features: the selected or the last one.
    """

    suffix = ""
    per_sample = True

    def __init__(
        self,
        *,
        layer: str | None = None,
        c: tuple[Positive, ...] = C_OPTIONS,
        num_retrains: Count = 20,
        checkpoint: Which = "best",
    ) -> None:
        if not c:
            raise ValueError("c needs at least one number")
        self.layer = layer
        self.c = c
        self.num_retrains = num_retrains
        self.checkpoint = checkpoint

    def objection(self, config: RunConfig) -> str:
        if config.task.name in ("regression", "language_modeling"):
            return f"a last layer is retrained for classes; the task is {config.task.name}"
        return ""

    def write(self, run: Run, checkpoint: Checkpoint, path: Path) -> str:
        if "validation" not in run.data.splits:
            raise DataError("the last layer is retrained on the validation split, and the data has none")
        name, layer = find_layer(run.engine.model, self.layer)
        with captured(name, layer) as features:
            training = rows_of(run, "train", features)
            held_out = rows_of(run, "validation", features)
        split = run.data.splits["validation"]
        groups = run.data.groups.assign(split, "validation")
        labels = split.columns["label"].values
        head, c, size = self._fit(training, held_out, labels, groups, run)
        if run.world.is_main:
            _save(run, checkpoint, path, name, head)
        return f"{name} retrained with C {c:g} on {self.num_retrains} subsets of {size:,} validation samples"

    def _fit(
        self, training: np.ndarray, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, run: Run
    ) -> tuple[LinearHead, float, int]:
        """The new layer, the C that was chosen, and the size of each subset."""
        seed, names = run.config.seed, run.data.groups.names
        num_classes = run.data.spec.num_classes
        assert num_classes is not None
        order = generator(seed, "last_layer", "halves").permutation(len(groups))
        judge, fit = order[: len(order) // 2], order[len(order) // 2 :]
        present = np.unique(groups)
        for half in (judge, fit):
            missing = np.setdiff1d(present, groups[half])
            if len(missing):
                raise DataError(
                    f"group {names[missing[0]]} has too few validation samples to choose C on one half"
                    " after a fit on the other; give it more, e.g. by a larger data.splits.validation"
                )
        chosen = fit[balanced_subset(groups[fit], generator(seed, "last_layer", "choice"))]
        scores = []
        for c in self.c:
            head = fit_head(features[chosen], labels[chosen], features[chosen], c, num_classes, seed)
            scores.append(worst_group_accuracy(head, features[judge], labels[judge], groups[judge]))
        best = self.c[int(np.argmax(scores))]
        heads = []
        for number in range(self.num_retrains):
            chosen = balanced_subset(groups, generator(seed, "last_layer", "retrain", number))
            heads.append(fit_head(features[chosen], labels[chosen], training, best, num_classes, seed))
        mean = LinearHead(
            np.mean([head.weight for head in heads], axis=0), np.mean([head.bias for head in heads], axis=0)
        )
        return mean, best, len(chosen)


def find_layer(model: nn.Module, name: str | None) -> tuple[str, nn.Linear]:
    """The linear layer of that name, or the last one.

    Raises:
        TrainingError: there is none.
    """
    layers = {key: module for key, module in model.named_modules() if isinstance(module, nn.Linear)}
    if name is None and layers:
        name = list(layers)[-1]
    if name is None:
        raise TrainingError("the model has no torch.nn.Linear, so no last layer to retrain")
    if name not in layers:
        known = ", ".join(list(layers)[-3:])
        raise TrainingError(
            f"the model has no linear layer '{name}'{nearest(name, layers)} (the last ones: {known})"
        )
    if layers[name].bias is None:
        raise TrainingError(f"the layer {name} has no bias, which the regression needs")
    return name, layers[name]


@contextmanager
def captured(name: str, layer: nn.Linear) -> Iterator[Any]:
    """Inside, gives a measure for `rows_of`: the layer's inputs (micro, features).

    Raises:
        TrainingError: what the layer gives is not what the model gives.
    """
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    def measure(outputs: Tensor, batch: Batch) -> Tensor:
        if not seen or seen[-1][1].shape != outputs.shape or not torch.equal(seen[-1][1].float(), outputs):
            raise TrainingError(f"the layer {name} does not give the logits; name the one that does: layer=…")
        features = seen[-1][0]
        seen.clear()
        return features

    handle = layer.register_forward_hook(note)
    try:
        yield measure
    finally:
        handle.remove()


def _save(run: Run, checkpoint: Checkpoint, path: Path, layer: str, head: LinearHead) -> None:
    """The checkpoint with the new layer, at the end of training."""
    from framework.checkpoint.store import CheckpointStore

    parts = {name: checkpoint.parts[name] for name in checkpoint.parts}
    engine = parts["engine"]
    for weights in (engine["model"], engine.get("ema", {})):
        for key, values in ((f"{layer}.weight", head.weight), (f"{layer}.bias", head.bias)):
            if weights and key not in weights:
                raise TrainingError(f"the checkpoint {checkpoint.path} has no {key}")
            if weights:
                weights[key] = torch.from_numpy(values).to(weights[key].dtype)
    last = run.progress.num_steps
    parts["progress"] = {**parts["progress"], "step": last, "settled": last, "stopped": False}
    CheckpointStore(path).save(last, parts, checkpoint.meta, keep_last=1)
