"""What travels from the loader to the model, the task and the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from framework.data.faults import Fault

Inputs = Tensor | dict[str, Tensor]

#: target of a token position that counts nowhere
NO_TOKEN = -100


@dataclass(frozen=True)
class DataSpec:
    """What a model and a task must know of the data.

    Attributes:
        input_shape: of one sample: (features,), (channels, height, width) or (tokens,).
        num_classes: number of classes, or None when targets are real numbers or tokens.
        class_names: one per class, empty otherwise.
        num_targets: width of a real-valued target, 1 for a scalar.
        num_tokens: size of the vocabulary when inputs are token ids (int64), else None.
        next_tokens: whether the targets are the token that follows each input token, -100 for none.
    """

    input_shape: tuple[int, ...]
    num_classes: int | None
    class_names: tuple[str, ...] = ()
    num_targets: int = 1
    num_tokens: int | None = None
    next_tokens: bool = False

    @property
    def kind(self) -> str:
        """What the data is, for messages."""
        shape = " x ".join(map(str, self.input_shape))
        if self.num_tokens is None:
            return f"{'images' if len(self.input_shape) == 3 else 'numbers'} of shape {shape}"
        purpose = "for language modelling" if self.next_tokens else "with a label each"
        return f"text of {shape} tokens {purpose}"

    @property
    def num_features(self) -> int:
        """Numbers in one input sample."""
        return int(torch.Size(self.input_shape).numel())

    @property
    def num_outputs(self) -> int:
        """Numbers a model gives per sample: a logit per class, or the regression target's width.

        For language modelling it is those per token: a logit for each token of the vocabulary.
        """
        if self.next_tokens:
            assert self.num_tokens is not None
            return self.num_tokens
        return self.num_classes if self.num_classes is not None else self.num_targets


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one rank; every tensor has the samples on its first dimension.

    Attributes:
        inputs: (micro, ...) or a dictionary of such.
        targets: (micro,) class ids (int64), (micro,) / (micro, width) real numbers (float32), or
            (micro, tokens) token ids (int64) with -100 where there is none.
        groups: (micro,) int64 group ids, as the policy (training) or the metrics (evaluation) count them.
        index: (micro,) int64 positions of the samples in their split.
        valid: (micro,) bool; False marks a filler row that must count nowhere.
        extra: further columns by name. Those of one number per sample (micro,), e.g. `sample_weight`,
            reach the policy; larger ones (micro, ...) are the task's alone.
        complete: whether every row is valid, known on the host so that no one need ask the device.
        means: of each column with one number per sample, its mean over the whole global batch of
            training, the same on every rank and micro-batch; empty in evaluation.
    """

    inputs: Inputs
    targets: Tensor
    groups: Tensor
    index: Tensor
    valid: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    complete: bool = True
    means: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def keep_valid(self, values: Tensor) -> Tensor:
        """`values` (micro, ...) without the filler rows."""
        return values if self.complete else values[self.valid]

    def take(self, rows: Tensor) -> Batch:
        """The rows with the numbers `rows` (k,), on the same device."""
        inputs = self.inputs
        return replace(
            self,
            inputs={k: v[rows] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows],
            targets=self.targets[rows],
            groups=self.groups[rows],
            index=self.index[rows],
            valid=self.valid[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def without(self, bad: Tensor) -> Batch:
        """The batch without the rows that `bad` (micro,) marks, or with one filler row if none is left."""
        kept = (~bad).nonzero().squeeze(1)
        if len(kept):
            return self.take(kept)
        filler = self.take(torch.zeros(1, dtype=torch.int64))
        return replace(filler, valid=torch.zeros(1, dtype=torch.bool), complete=False)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`; itself when it is there already."""
        if self.index.device == device:
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        inputs = self.inputs
        return replace(
            self,
            inputs={k: move(v) for k, v in inputs.items()} if isinstance(inputs, dict) else move(inputs),
            targets=move(self.targets),
            groups=move(self.groups),
            index=move(self.index),
            valid=move(self.valid),
            extra={k: move(v) for k, v in self.extra.items()},
        )


@dataclass(frozen=True)
class GlobalBatch:
    """This rank's micro-batches of one optimizer step.

    Attributes:
        micros: the micro-batches, in canonical order; every rank has the same number of them.
        num_samples: valid samples of the whole global batch, over all ranks and micro-batches.
        epoch: number of finished passes over the data before this batch.
        step: number of this batch inside its epoch, from 0.
        left_out: places in the global batch, ascending, whose samples cannot be read; the same on every rank.
        faults: why samples of this rank's part could not be read.
    """

    micros: Sequence[Batch]
    num_samples: int
    epoch: int
    step: int
    left_out: Sequence[int] = ()
    faults: Sequence[Fault] = ()

    def to(self, device: torch.device) -> GlobalBatch:
        """The same batch on `device`; itself when it is there already."""
        if self.micros[0].index.device == device:
            return self
        return replace(self, micros=[micro.to(device) for micro in self.micros])
