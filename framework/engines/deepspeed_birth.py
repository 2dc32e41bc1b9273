"""A model that is born in the shares of ZeRO-3: each parameter is whole only for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from framework.engines.birth import from_rank_0, tensors


def with_placeholders(shell: nn.Module, device: torch.device) -> nn.Module:
    """The model of the meta device `shell`, changed in place: parameters of true shapes without values.

    Each takes one element of memory on `device`, so that an optimizer can be made of them.
    """
    placeholders: dict[int, nn.Parameter] = {}
    for module in shell.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in placeholders:
                values = torch.empty((), dtype=parameter.dtype, device=device).expand(parameter.shape)
                placeholders[id(parameter)] = nn.Parameter(values, parameter.requires_grad)
            module._parameters[name] = placeholders[id(parameter)]
    return shell


def fill(
    model: nn.Module, source: nn.Module | None, package: Any, config: dict[str, Any], device: torch.device
) -> None:
    """Give a model of placeholders the values of `source`, on rank 0, and cut them on the way. Collective.

    Args:
        model: what `with_placeholders` gave.
        source: the real model on rank 0, None on the others.
        package: DeepSpeed.
        config: what DeepSpeed will be initialized with.
        device: where the processes compute.
    """
    values = dict(tensors(source)) if source is not None else {}
    package.zero.Init(
        module=_OneByOne(model, values, device), config_dict_or_path=config, dtype=torch.float32
    )
    filled = {
        id(buffer): from_rank_0(values.get(name), buffer, device) for name, buffer in model.named_buffers()
    }
    for module in model.modules():
        module._buffers = {name: b if b is None else filled[id(b)] for name, b in module._buffers.items()}


class _OneByOne(nn.Module):
    """What DeepSpeed takes for a model: its parameters get their memory when it is their turn to be cut.

    DeepSpeed sends the values of rank 0 to the others.
    """

    def __init__(self, model: nn.Module, values: dict[str, Any], device: torch.device) -> None:
        super().__init__()
        self._named = list(model.named_parameters())
        self._values = values
        self._device = device

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        for name, parameter in self._named:
            if name in self._values:
                parameter.data = self._values[name].detach().to(self._device).contiguous()
            else:
                parameter.data = torch.empty(parameter.shape, dtype=parameter.dtype, device=self._device)
            yield parameter
