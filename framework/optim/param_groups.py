"""Which parameters weight decay acts on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn


def split_decay(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay_on: Literal["all", "matrices"]
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, in the order of the model; frozen parameters are left out.

    With `matrices`, parameters of fewer than two dimensions (biases, norms) go to a second group whose
    `weight_decay` is 0; those of the first take the optimizer's own.
    """
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    if weight_decay_on == "all":
        return [{"params": trained}]
    matrices = [parameter for parameter in trained if parameter.dim() >= 2]
    vectors = [parameter for parameter in trained if parameter.dim() < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
