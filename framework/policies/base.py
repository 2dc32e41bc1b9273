"""The loss contract: a policy is a pure function of the global batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from framework.errors import CheckpointError
from framework.policies.collect import collect, num_processes


@dataclass(frozen=True)
class SampleLosses:
    """Losses of the samples of a global batch, in canonical order, without filler rows.

    Attributes:
        loss: (n,) detached; float32 in training whatever the precision of the model.
        groups: (n,) int64 group ids.
        index: (n,) int64 positions in the training split.
        num_samples: size of the *global* batch. It equals n wherever a policy needs the batch; a policy
            with `needs_batch = False` may be shown only a part and must divide by this number, not by n.
        extra: further per-sample columns, (n,) each.
    """

    loss: Tensor
    groups: Tensor
    index: Tensor
    num_samples: int
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.loss.dim() == 1, f"losses must be per sample, (n,); got shape {tuple(self.loss.shape)}"
        assert not self.loss.requires_grad, "losses must be detached before a policy sees them"


@dataclass(frozen=True)
class Extrapolation:
    """The optimistic half step that a policy asks the optimizer for (see `optim.optimistic`).

    Attributes:
        alpha: factor on the previous gradient.
        state: `restored` puts the optimizer's moments back after the half step; `shared` lets it advance
            them, as the authors' code of ALSO does.
    """

    alpha: float
    state: Literal["restored", "shared"]


class Policy(ABC):
    """Decides how much each sample counts: the objective is sum_i weights_i * loss_i.

    Attributes:
        needs_batch: whether a sample's weight depends on other samples of this batch. If so the step
            calls `update` then `weights` on the whole batch before the backward pass; if not, `weights`
            on each micro-batch as it comes and `update` on the whole batch afterwards.
        needs_groups: whether the data must define groups.
        needs_log_probability: whether it takes exp(-loss) for the probability of the sample's target.
        may_be_negative: whether a weight may be below 0; only for a method that is defined so.
        required_extra: per-sample columns of which the data or the task must bring at least one.
        state_names: the tensor attributes that make up the state; `update` rebinds them, never in place.
        constant_names: the tensor attributes that follow from the options and only have to be moved.
        extrapolation: the half step to take with the previous gradient before each forward pass, if any.
    """

    needs_batch: bool = True
    needs_groups: bool = False
    needs_log_probability: bool = False
    may_be_negative: bool = False
    required_extra: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    constant_names: tuple[str, ...] = ()
    extrapolation: Extrapolation | None = None

    @abstractmethod
    def weights(self, samples: SampleLosses) -> Tensor:
        """Weights (n,), detached, of the dtype of the losses; >= 0 unless `may_be_negative`."""

    def update(self, samples: SampleLosses) -> None:
        """Move the state, once per optimizer step, by the losses of the whole global batch."""

    def step(self, samples: SampleLosses) -> Tensor:
        """`update` and `weights` on a whole batch, in the order that `needs_batch` says."""
        if self.needs_batch:
            self.update(samples)
            return self.weights(samples)
        weights = self.weights(samples)
        self.update(samples)
        return weights

    def objective(
        self,
        losses: Tensor,
        groups: Tensor | None = None,
        extra: Mapping[str, Tensor] | None = None,
        *,
        gradients: Literal["mean", "sum"] = "mean",
    ) -> Tensor:
        """The scalar to call `backward` on, in any training loop; one call per optimizer step.

        Under an initialised `torch.distributed` every process calls it with its own part of the batch, of
        any size, and the policy sees all parts. The scalar is then this process's share of the objective,
        scaled so that the gradients, once combined over the processes, are those of the global objective.

        Args:
            losses: (n,) with gradients, one per sample of the batch, or of this process's part of it.
            groups: (n,) int64 group ids, for the policies that need them.
            extra: further columns by name, (n,) each, for the policies that read them.
            gradients: how gradients are combined over processes: mean as in DDP and FSDP, or sum.

        Raises:
            ValueError: losses are not one per sample, or groups or columns are missing or do not match.
        """
        if losses.dim() != 1:
            raise ValueError(f"losses must be per sample, (n,); got shape {tuple(losses.shape)}")
        if groups is None:
            if self.needs_groups:
                raise ValueError(f"policy {type(self).__name__} needs the group of each sample")
            groups = torch.zeros_like(losses, dtype=torch.int64)
        columns = {"loss": losses.detach(), "groups": groups, **(extra or {})}
        for name, column in columns.items():
            if column.shape != losses.shape:
                shapes = f"{tuple(column.shape)}, losses {tuple(losses.shape)}"
                raise ValueError(f"{name if name == 'groups' else f'column {name}'} have shape {shapes}")
        if self.required_extra and not any(name in columns for name in self.required_extra):
            raise ValueError(
                f"policy {type(self).__name__} needs extra={{...}} with {' or '.join(self.required_extra)}"
            )
        processes, start = num_processes(), 0
        if processes > 1:
            columns, start = collect(columns)
        loss, groups = columns.pop("loss"), columns.pop("groups")
        index = torch.arange(len(loss), device=loss.device)
        weights = self.step(SampleLosses(loss, groups, index, len(loss), columns))
        own = (weights[start : start + len(losses)] * losses).sum()
        return own * processes if gradients == "mean" else own

    def numbers(self) -> dict[str, Tensor]:
        """The state worth logging: `q` or `pi` as (groups,), or scalars, by name."""
        return {}

    def to(self, device: torch.device) -> Policy:
        """Move the state to `device`, in place."""
        for name in (*self.state_names, *self.constant_names):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def state_dict(self) -> dict[str, Any]:
        """The tensors of `state_names`."""
        return {name: getattr(self, name) for name in self.state_names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over `state`.

        Raises:
            CheckpointError: names or shapes differ from this policy's.
        """
        if set(state) != set(self.state_names):
            raise CheckpointError(
                f"policy {type(self).__name__} keeps {sorted(self.state_names)},"
                f" the checkpoint has {sorted(state)}"
            )
        for name in self.state_names:
            current = getattr(self, name)
            if current.shape != state[name].shape:
                raise CheckpointError(
                    f"policy state '{name}' has shape {tuple(current.shape)},"
                    f" the checkpoint has {tuple(state[name].shape)}: the groups differ"
                )
            setattr(self, name, state[name].to(device=current.device, dtype=current.dtype))
