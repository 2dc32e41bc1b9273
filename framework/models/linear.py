"""A linear map of the flattened input: logistic or linear regression."""

from __future__ import annotations

from torch import nn

from framework.data.batch import DataSpec
from framework.registry import register


@register.model("linear")
def linear(spec: DataSpec, *, bias: bool = True) -> nn.Module:
    """One linear layer on the flattened input: logistic regression, or linear regression.

    Args:
        bias: add a learned constant to every output.
    """
    if spec.num_tokens is not None:
        raise ValueError(f"needs numbers; the data is {spec.kind}")
    return nn.Sequential(nn.Flatten(), nn.Linear(spec.num_features, spec.num_outputs, bias=bias))
