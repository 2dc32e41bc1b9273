"""A small classifier of texts: a transformer that sees the whole text, or just a bag of embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.models.transformer_blocks import Activation, Block, Norm, Shape, initialize, rotary
from framework.options import Count, Fraction, Natural, Positive
from framework.registry import register


class TextTransformer(nn.Module):
    """Tokens with a mask to the logits of each class: the mean of the last features over the tokens there."""

    def __init__(self, num_tokens: int, num_outputs: int, layers: int, shape: Shape, init_std: float) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(num_tokens, shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(layers))
        self.norm = shape.make_norm()
        self.head = nn.Linear(shape.width, num_outputs)
        initialize(self, layers, init_std)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`input_ids` and `attention_mask` (n, tokens) to logits (n, outputs)."""
        tokens, mask = inputs["input_ids"], inputs["attention_mask"].bool()
        rotation = rotary(tokens.shape[1], self.shape, tokens.device)
        features = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            features = block(features, rotation, mask[:, None, None, :])
        kept = mask[:, :, None].to(features.dtype)
        mean = (features * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        logits: Tensor = self.head(self.norm(mean))
        return logits


@register.model("text_transformer")
def text_transformer(
    spec: DataSpec,
    *,
    width: Count = 64,
    layers: Natural = 2,
    heads: Count = 4,
    mlp_ratio: Positive = 4.0,
    activation: Activation = "gelu",
    norm: Norm = "layer",
    dropout: Fraction = 0.1,
    rotary_base: Positive = 10_000.0,
    init_std: Positive = 0.1,
) -> nn.Module:
    """Classifier of texts with random initial weights: pre-norm blocks, rotary positions, mean over tokens.

    Args:
        width: features of a token.
        layers: number of blocks; 0 is a linear model on the normalised mean embedding of the words.
        heads: attention heads; they must divide `width` into even parts.
        mlp_ratio: hidden width of a block's perceptron over `width`.
        activation: `gelu`, or `swiglu`, which has a third matrix.
        norm: `layer`, or `rms` without mean and bias.
        dropout: probability of zeroing an attention weight or a unit of the embeddings and of each
            block's outputs in training.
        rotary_base: ratio of the longest wavelength of the positions to the shortest, about.
        init_std: standard deviation of the initial weights.
    """
    if spec.num_tokens is None or spec.next_tokens:
        raise ValueError(f"needs texts with a label each; the data is {spec.kind}")
    shape = Shape(
        width=width,
        heads=heads,
        mlp_width=round(width * mlp_ratio),
        activation=activation,
        norm=norm,
        dropout=dropout,
        rotary_base=rotary_base,
        causal=False,
    )
    return TextTransformer(spec.num_tokens, spec.num_outputs, layers, shape, init_std)
