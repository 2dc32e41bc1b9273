"""A vision transformer for images of any size, from `transformers`, with random initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from framework.data.batch import DataSpec
from framework.models.huggingface import Classifier
from framework.models.transformers_extra import import_transformers
from framework.options import Count, Fraction, Positive
from framework.registry import register


@dataclass(frozen=True)
class Preset:
    """Width, depth and attention heads as published."""

    hidden_size: int
    layers: int
    heads: int


#: `tiny` and `small` are DeiT-Ti and DeiT-S (Touvron et al., arXiv 2012.12877, Table 1); `base` is ViT-B
#: (Dosovitskiy et al., arXiv 2010.11929, Table 1).
PRESETS = {
    "tiny": Preset(hidden_size=192, layers=12, heads=3),
    "small": Preset(hidden_size=384, layers=12, heads=6),
    "base": Preset(hidden_size=768, layers=12, heads=12),
}


@register.model("vit")
def vit(
    spec: DataSpec,
    *,
    preset: Literal["tiny", "small", "base"] = "tiny",
    patch_size: Count = 16,
    hidden_size: Count | None = None,
    layers: Count | None = None,
    heads: Count | None = None,
    mlp_ratio: Positive = 4.0,
    dropout: Fraction = 0.0,
    attention_dropout: Fraction = 0.0,
    init_std: Positive = 0.02,
    attention: Literal["sdpa", "eager"] = "sdpa",
) -> nn.Module:
    """Vision transformer with a class token (arXiv 2010.11929), built from the data's image size.

    Args:
        preset: published width, depth and heads; each can be overridden below.
        patch_size: side of the square patches in pixels; it must divide height and width.
        hidden_size: width of a token; null takes the preset's.
        layers: number of encoder blocks; null takes the preset's.
        heads: attention heads; null takes the preset's. They must divide `hidden_size`.
        mlp_ratio: hidden width of a block's perceptron over `hidden_size`.
        dropout: probability of zeroing a unit of the embeddings and of each block's outputs in training.
        attention_dropout: probability of zeroing an attention weight in training.
        init_std: standard deviation of the initial weights; the papers' 0.02 suits the presets, a narrow
            model learns much faster from about hidden_size ** -0.5.
        attention: `sdpa` never stores the attention matrix and has fast kernels on GPUs; `eager` is a plain
            product, on a CPU about 0.85 of the time of `sdpa` for up to 200 tokens.
    """
    channels, height, width = _image_shape(spec, patch_size)
    chosen = PRESETS[preset]
    hidden_size = hidden_size or chosen.hidden_size
    heads = heads or chosen.heads
    if hidden_size % heads:
        raise ValueError(
            f"hidden_size {hidden_size} is not divisible by heads {heads}"
            f" ({hidden_size} = {heads} x {hidden_size // heads} + {hidden_size % heads})"
        )
    transformers: Any = import_transformers("vit")
    config = transformers.ViTConfig(
        image_size=(height, width),
        patch_size=patch_size,
        num_channels=channels,
        num_labels=spec.num_outputs,
        hidden_size=hidden_size,
        num_hidden_layers=layers or chosen.layers,
        num_attention_heads=heads,
        intermediate_size=round(hidden_size * mlp_ratio),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=attention_dropout,
        initializer_range=init_std,
        layer_norm_eps=1e-6,
        attn_implementation=attention,
    )
    return Classifier(transformers.ViTForImageClassification(config))


def _image_shape(spec: DataSpec, patch_size: int) -> tuple[int, int, int]:
    if len(spec.input_shape) != 3:
        raise ValueError(
            f"needs images of shape (channels, height, width); the data has shape {spec.input_shape}"
            " (for a table choose mlp or linear)"
        )
    channels, height, width = spec.input_shape
    for side, pixels in (("height", height), ("width", width)):
        if pixels % patch_size:
            divisors = [size for size in range(1, pixels + 1) if pixels % size == 0]
            raise ValueError(
                f"patch_size {patch_size} does not divide the image {side} {pixels}"
                f" ({pixels} = {patch_size} x {pixels // patch_size} + {pixels % patch_size});"
                f" one of {', '.join(map(str, divisors))} does"
            )
    return channels, height, width
