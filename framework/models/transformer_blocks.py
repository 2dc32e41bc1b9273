"""The parts of a transformer over tokens: pre-norm blocks with rotary positions, on torch's own kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["swiglu", "gelu"]
Norm = Literal["rms", "layer"]


@dataclass(frozen=True)
class Shape:
    """What the blocks of one model share.

    Attributes:
        width: of a token's features.
        heads: of attention.
        mlp_width: hidden width of a block's perceptron.
        activation: `swiglu` has a third matrix that gates the hidden units (Shazeer, arXiv 2002.05202).
        norm: `rms` without mean and bias (arXiv 1910.07467), or `layer` with both.
        dropout: of the embeddings, the attention weights and each block's two outputs.
        rotary_base: of the wavelengths of the positions (RoFormer, arXiv 2104.09864).
        causal: whether a token sees only itself and those before it.

    Raises:
        ValueError: the heads do not divide the width into even parts.
    """

    width: int
    heads: int
    mlp_width: int
    activation: Activation = "swiglu"
    norm: Norm = "rms"
    dropout: float = 0.0
    rotary_base: float = 10_000.0
    causal: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not divisible by heads {self.heads}"
                f" ({self.width} = {self.heads} x {self.width // self.heads} + {self.width % self.heads})"
            )
        if self.head_width % 2:
            raise ValueError(
                f"rotary positions turn pairs of features: width {self.width} / heads {self.heads}"
                f" = {self.head_width} must be even"
            )

    @property
    def head_width(self) -> int:
        """Features of one head."""
        return self.width // self.heads

    def make_norm(self) -> nn.Module:
        """A normalisation of `width` features."""
        return nn.RMSNorm(self.width, eps=1e-5) if self.norm == "rms" else nn.LayerNorm(self.width)


class Attention(nn.Module):
    """Self-attention with rotary positions, without biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, features: Tensor, rotation: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, tokens, width) to the same; `mask` (n, 1, 1, tokens) is True where a token may be seen."""
        n, length, width = features.shape
        split = self.query_key_value(features).view(n, length, 3, self.shape.heads, self.shape.head_width)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            _rotated(query, rotation),
            _rotated(key, rotation),
            value,
            attn_mask=mask,
            dropout_p=self.shape.dropout if self.training else 0.0,
            is_causal=self.shape.causal,
        )
        output: Tensor = self.output(attended.transpose(1, 2).reshape(n, length, width))
        return output


class Perceptron(nn.Module):
    """Two layers on each token, the hidden one optionally gated; without biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gated = shape.activation == "swiglu"
        self.hidden = nn.Linear(shape.width, shape.mlp_width * (2 if self.gated else 1), bias=False)
        self.output = nn.Linear(shape.mlp_width, shape.width, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, tokens, width) to the same."""
        hidden = self.hidden(features)
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.gelu(hidden)
        output: Tensor = self.output(hidden)
        return output


class Block(nn.Module):
    """Attention, then the perceptron, each on normalised features and added to them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = shape.make_norm()
        self.attention = Attention(shape)
        self.perceptron_norm = shape.make_norm()
        self.perceptron = Perceptron(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, features: Tensor, rotation: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, tokens, width) to the same."""
        attended = self.attention(self.attention_norm(features), rotation, mask)
        features = features + self.dropout(attended)
        added: Tensor = self.dropout(self.perceptron(self.perceptron_norm(features)))
        return features + added


class TokenEmbedding(nn.Embedding):
    """The features of a token, and, of features, how well they agree with each token's.

    One module for both directions, so that an engine that shards it finds each use of the weight.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Token ids (n, tokens) to (n, tokens, width), or such features to (n, tokens, vocabulary)."""
        if values.is_floating_point():
            return F.linear(values, self.weight)
        return super().forward(values)


def rotary(length: int, shape: Shape, device: torch.device) -> Tensor:
    """Cosine and sine of the angle of each position and pair of features, (2, length, head width / 2).

    Computed where they are used: a buffer would have to be sharded, saved and put back with every step.
    The angles themselves stay here, in float32: half precision would lose far positions.
    """
    pairs = torch.arange(0, shape.head_width, 2, device=device, dtype=torch.float32) / shape.head_width
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = positions[:, None] * shape.rotary_base**-pairs
    return torch.stack([angles.cos(), angles.sin()])


def initialize(model: nn.Module, layers: int, std: float) -> None:
    """Normal weights of deviation `std`, those that add to the features divided by sqrt(2 layers).

    As in GPT-2 (Radford et al. 2019, section 2.3), so that the features do not grow with depth.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue
        adds = name.endswith("output.weight") and "blocks." in name
        nn.init.normal_(parameter, std=std / math.sqrt(2 * layers) if adds else std)


def _rotated(vectors: Tensor, rotation: Tensor) -> Tensor:
    """(n, heads, tokens, head width) with the pair (i, i + half) of each token turned by its angle."""
    first, second = vectors.chunk(2, dim=-1)
    cos, sin = rotation.to(vectors.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
