"""A multilayer perceptron on the flattened input."""

from __future__ import annotations

from typing import Literal

from torch import nn

from framework.data.batch import DataSpec
from framework.models.heads import Head, make_head
from framework.options import Count, Fraction
from framework.registry import register

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@register.model("mlp")
def mlp(
    spec: DataSpec,
    *,
    hidden: list[Count] = [256, 256],  # noqa: B006
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    dropout: Fraction = 0.0,
    head: Head = "linear",
) -> nn.Module:
    """Multilayer perceptron: for each hidden width a linear layer, norm, activation and dropout.

    Args:
        hidden: width of each hidden layer, first to last; an empty list leaves a linear model.
        activation: nonlinearity of the hidden layers.
        norm: normalisation before the activation; `batch` mixes the samples of a micro-batch, so its
            results depend on how the batch is cut.
        dropout: probability of zeroing a hidden unit in training.
        head: last layer; `cosine` normalises features and weights, for LDAM.
    """
    if spec.num_tokens is not None:
        raise ValueError(f"needs numbers; the data is {spec.kind}")
    layers: list[nn.Module] = [nn.Flatten()]
    width = spec.num_features
    for next_width in hidden:
        layers.append(nn.Linear(width, next_width))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(next_width))
        elif norm == "layer":
            layers.append(nn.LayerNorm(next_width))
        layers.append(ACTIVATIONS[activation]())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        width = next_width
    layers.append(make_head(head, width, spec.num_outputs))
    return nn.Sequential(*layers)
