"""Optimizers with typed options; every other class of `torch.optim` goes by its own name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from framework.optim.torch_classes import component, usable_classes
from framework.options import NonNegative, Positive
from framework.registry import register

Decay = Annotated[float, Field(ge=0, lt=1)]
Parameters = Sequence[Tensor] | Sequence[dict[str, Any]]

#: Where torch has one kernel for a whole step; Adagrad's for CUDA came only lately.
FUSED_DEVICES = frozenset({"cpu", "cuda"})


@register.optimizer("sgd")
def sgd(
    parameters: Parameters,
    *,
    lr: Positive = 0.1,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum; weight decay is added to the gradient.

    Args:
        lr: learning rate.
        momentum: share of the previous velocity that is kept.
        nesterov: take the gradient's step from the point the velocity leads to; needs momentum.
        weight_decay: factor of the squared norm's gradient.
    """
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=can_fuse(parameters),
    )


@register.optimizer("adam")
def adam(
    parameters: Parameters,
    *,
    lr: Positive = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Adam (arXiv 1412.6980); weight decay is added to the gradient, so it is rescaled with it.

    Args:
        lr: learning rate.
        betas: shares of the running first and second moments that are kept.
        eps: added to the root of the second moment.
        weight_decay: factor of the squared norm's gradient.
        amsgrad: divide by the largest second moment so far (Reddi et al., ICLR 2018).
    """
    return torch.optim.Adam(
        parameters,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        fused=can_fuse(parameters, sharded=True),
    )


@register.optimizer("adamw")
def adamw(
    parameters: Parameters,
    *,
    lr: Positive = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (arXiv 1711.05101): weights shrink by lr * weight_decay a step.

    Args:
        lr: learning rate.
        betas: shares of the running first and second moments that are kept.
        eps: added to the root of the second moment.
        weight_decay: share of a weight, times `lr`, taken off at each step.
        amsgrad: divide by the largest second moment so far (Reddi et al., ICLR 2018).
    """
    return torch.optim.AdamW(
        parameters,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        amsgrad=amsgrad,
        fused=can_fuse(parameters, sharded=True),
    )


@register.optimizer("adagrad")
def adagrad(
    parameters: Parameters,
    *,
    lr: Positive = 0.01,
    lr_decay: NonNegative = 0.0,
    eps: Positive = 1e-10,
    weight_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """Adagrad (Duchi et al., JMLR 2011): divides by the root of the sum of all squared gradients.

    Args:
        lr: learning rate.
        lr_decay: the rate of step s is lr / (1 + s * lr_decay).
        eps: added to the root of the sum.
        weight_decay: factor of the squared norm's gradient.
        initial_accumulator_value: where the sum of squared gradients starts.
    """
    return torch.optim.Adagrad(
        parameters,
        lr=lr,
        lr_decay=lr_decay,
        eps=eps,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        fused=can_fuse(parameters, frozenset({"cpu"})),
    )


def can_fuse(
    parameters: Parameters, devices: frozenset[str] = FUSED_DEVICES, *, sharded: bool = False
) -> bool:
    """Whether the fused kernel takes all parameters: floating point, on one of `devices`.

    Args:
        parameters: tensors or groups of them.
        devices: where the kernel exists.
        sharded: whether it takes distributed tensors.
    """
    return all(
        tensor.device.type in devices
        and tensor.is_floating_point()
        # Asked by attribute: importing the class takes as long as importing torch does.
        and (sharded or not hasattr(tensor, "to_local"))
        for tensor in _tensors(parameters)
    )


def _tensors(parameters: Parameters) -> Iterable[Tensor]:
    for item in parameters:
        if isinstance(item, dict):
            yield from item["params"]
        else:
            yield item


for _class in usable_classes():
    register.optimizer(_class.__name__)(component(_class))
