"""A decoder-only transformer over tokens, from a million parameters to seven billion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.models.transformer_blocks import (
    Activation,
    Block,
    Norm,
    Shape,
    TokenEmbedding,
    initialize,
    rotary,
)
from framework.options import Count, Fraction, Positive
from framework.registry import register


@dataclass(frozen=True)
class Preset:
    """Width, depth and attention heads; the hidden width of a gated perceptron; one matrix for both ends."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    tied: bool = True


#: Width, depth and heads of `1m` are Pythia-14M's and of `10m` nanoGPT's character model's; `50m` is our own;
#: `125m`, `350m` and `3b` are GPT-3's small, medium and 2.7B (arXiv 2005.14165, Table 2.1); `1b` is OLMo-1B
#: (arXiv 2402.00838, Table 1) and `7b` LLaMA-7B (arXiv 2302.13971, Table 2), both with their perceptrons.
#: The others have two thirds of four times the width, as LLaMA, rounded up to a multiple of 128.
#: The name counts the embeddings of a vocabulary of 50,000 from `125m` on, and none before.
PRESETS = {
    "1m": Preset(width=128, layers=6, heads=4, mlp_width=384),
    "10m": Preset(width=384, layers=6, heads=6, mlp_width=1024),
    "50m": Preset(width=640, layers=10, heads=10, mlp_width=1792),
    "125m": Preset(width=768, layers=12, heads=12, mlp_width=2048),
    "350m": Preset(width=1024, layers=24, heads=16, mlp_width=2816),
    "1b": Preset(width=2048, layers=16, heads=16, mlp_width=8192),
    "3b": Preset(width=2560, layers=32, heads=32, mlp_width=6912),
    "7b": Preset(width=4096, layers=32, heads=32, mlp_width=11008, tied=False),
}


class TransformerLM(nn.Module):
    """Tokens to the logits of each next one.

    Args:
        num_tokens: size of the vocabulary.
        layers: number of blocks.
        shape: of the blocks.
        tied: whether the last layer is the embedding's matrix.
        init_std: deviation of the initial weights.
    """

    def __init__(self, num_tokens: int, layers: int, shape: Shape, *, tied: bool, init_std: float) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = TokenEmbedding(num_tokens, shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(layers))
        self.norm = shape.make_norm()
        self.head = None if tied else nn.Linear(shape.width, num_tokens, bias=False)
        initialize(self, layers, init_std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (n, tokens) to logits (n, tokens, vocabulary)."""
        rotation = rotary(tokens.shape[1], self.shape, tokens.device)
        features = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            features = block(features, rotation)
        features = self.norm(features)
        logits: Tensor = self.embedding(features) if self.head is None else self.head(features)
        return logits


@register.model("transformer_lm")
def transformer_lm(
    spec: DataSpec,
    *,
    preset: Literal["1m", "10m", "50m", "125m", "350m", "1b", "3b", "7b"] = "1m",
    width: Count | None = None,
    layers: Count | None = None,
    heads: Count | None = None,
    mlp_ratio: Positive | None = None,
    activation: Activation = "swiglu",
    norm: Norm = "rms",
    dropout: Fraction = 0.0,
    tied_embeddings: bool | None = None,
    rotary_base: Positive = 10_000.0,
    init_std: Positive = 0.02,
) -> nn.Module:
    """Decoder-only transformer for language modelling: pre-norm, rotary positions, no biases.

    Args:
        preset: width, depth, heads, perceptron and tying, published ones where they exist; each can be
            overridden below.
        width: features of a token; null takes the preset's.
        layers: number of blocks; null takes the preset's.
        heads: attention heads; null takes the preset's. They must divide `width` into even parts.
        mlp_ratio: hidden width of a block's perceptron over `width`; null takes the preset's, and 4 for
            `gelu`, which has as many weights.
        activation: `swiglu` gates the hidden units with a third matrix; `gelu` is GPT's perceptron.
        norm: `rms` divides by the root mean square; `layer` also subtracts the mean and adds a bias.
        dropout: probability of zeroing an attention weight or a unit of the embeddings and of each
            block's outputs in training.
        tied_embeddings: use the embedding's matrix as the last layer too; null takes the preset's.
        rotary_base: ratio of the longest wavelength of the positions to the shortest, about; larger for
            longer texts.
        init_std: standard deviation of the initial weights; a layer that adds to the features has it
            divided by sqrt(2 layers).
    """
    if spec.num_tokens is None or not spec.next_tokens:
        raise ValueError(f"needs text in blocks for language modelling; the data is {spec.kind}")
    chosen = PRESETS[preset]
    width = width or chosen.width
    layers = layers or chosen.layers
    if mlp_ratio is None:
        mlp_ratio = chosen.mlp_width / chosen.width if activation == "swiglu" else 4.0
    shape = Shape(
        width=width,
        heads=heads or chosen.heads,
        mlp_width=round(width * mlp_ratio),
        activation=activation,
        norm=norm,
        dropout=dropout,
        rotary_base=rotary_base,
    )
    tied = chosen.tied if tied_embeddings is None else tied_embeddings
    return TransformerLM(spec.num_tokens, layers, shape, tied=tied, init_std=init_std)
