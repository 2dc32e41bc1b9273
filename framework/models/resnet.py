"""Residual networks of both families: for small images and for large ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.models.heads import Head, make_head
from framework.options import Count
from framework.registry import register

Norm = Callable[[int], nn.Module]

#: Blocks per stage of the networks for large images (He et al., arXiv 1512.03385, Table 1).
LARGE_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK_DEPTHS = frozenset({50, 101, 152})


class PaddedShortcut(nn.Module):
    """Identity without parameters: every stride-th pixel, new channels zero (option A of section 4.2)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before, self.after = new_channels // 2, new_channels - new_channels // 2

    def forward(self, images: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c + new_channels, h / stride, w / stride)."""
        kept = images[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


class Block(nn.Module):
    """relu(shortcut(x) + branch(x)); the branch is two 3x3 convolutions, or 1x1, 3x3, 1x1 (bottleneck)."""

    def __init__(
        self, channels: int, width: int, stride: int, norm: Norm, *, expansion: int = 1, padded: bool = False
    ) -> None:
        super().__init__()
        out = width * expansion
        kernels = [(channels, width, 3, stride), (width, out, 3, 1)]
        if expansion > 1:
            # The stride sits on the 3x3 convolution: on the 1x1 it would skip three quarters of the pixels.
            kernels = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        branch: list[nn.Module] = []
        for inside, outside, size, step in kernels:
            branch += [conv(inside, outside, size, step), norm(outside), nn.ReLU(inplace=True)]
        self.branch = nn.Sequential(*branch[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if (channels, stride) != (out, 1):
            self.shortcut = (
                PaddedShortcut(out - channels, stride)
                if padded
                else nn.Sequential(conv(channels, out, 1, stride), norm(out))
            )

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, width * expansion, h / stride, w / stride)."""
        out: Tensor = self.shortcut(images) + self.branch(images)
        return torch.relu(out)


@register.model("resnet")
def resnet(
    spec: DataSpec,
    *,
    depth: Literal[20, 32, 44, 56, 110, 18, 34, 50, 101, 152] = 20,
    width: Count | None = None,
    stem: Literal["auto", "small", "large"] = "auto",
    norm: Literal["batch", "group"] = "batch",
    head: Head = "linear",
) -> nn.Module:
    """Residual network (arXiv 1512.03385) for images with any number of channels.

    Args:
        depth: 20, 32, 44, 56 or 110 for small images (three stages, section 4.2); 18, 34, 50, 101 or 152
            for large ones (four stages, Table 1).
        width: channels of the first stage, doubled at each following one; null takes the paper's, 16 for
            small images and 64 for large ones.
        stem: `small` starts with a 3x3 convolution, `large` with 7x7, stride 2 and pooling; `auto` takes
            the one of the depth's family.
        norm: `batch` normalises over the micro-batch, so results depend on how the batch is cut;
            `group` over 16 channels of each sample (arXiv 1803.08494), so they do not.
        head: last layer; `cosine` normalises features and weights, for LDAM.
    """
    if len(spec.input_shape) != 3:
        raise ValueError(
            f"needs images of shape (channels, height, width); the data has shape {spec.input_shape}"
            " (for a table choose mlp or linear)"
        )
    large = depth in LARGE_STAGES
    stages = LARGE_STAGES[depth] if large else ((depth - 2) // 6,) * 3
    expansion = 4 if depth in BOTTLENECK_DEPTHS else 1
    width = width or (64 if large else 16)
    normalise = nn.BatchNorm2d if norm == "batch" else group_norm

    layers = _stem(spec.input_shape[0], width, normalise, large=large if stem == "auto" else stem == "large")
    widths = [width * 2**stage for stage in range(len(stages))]
    channels = width
    for stage, (stage_width, num_blocks) in enumerate(zip(widths, stages, strict=True)):
        for block in range(num_blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(
                Block(channels, stage_width, stride, normalise, expansion=expansion, padded=not large)
            )
            channels = stage_width * expansion
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), make_head(head, channels, spec.num_outputs)]
    return nn.Sequential(*layers)


def conv(channels: int, out: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution without bias (a norm follows), initialised for ReLU (arXiv 1502.01852)."""
    layer = nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def group_norm(channels: int) -> nn.Module:
    """Normalisation over groups of 16 channels, or the largest divisor they share with 16."""
    return nn.GroupNorm(channels // math.gcd(channels, 16), channels)


def _stem(channels: int, width: int, norm: Norm, *, large: bool) -> list[nn.Module]:
    if not large:
        return [conv(channels, width, 3, 1), norm(width), nn.ReLU(inplace=True)]
    first = conv(channels, width, 7, 2)
    return [first, norm(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)]
