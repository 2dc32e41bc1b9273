"""A model as a plugin: ConvMixer, after "Patches Are All You Need?" (arXiv 2201.09792, section 2).

Copy this file, rename it, and change the network. A run uses it by naming it::

    plugins: [conv_mixer]
    model: {name: conv_mixer, width: 64, patch_size: 2}

What makes a function (or class) a model: it is registered under a free name, takes the `spec` of the
data, and gives a module whose `forward` maps inputs (n, ...) to outputs (n, spec.num_outputs). Its
keyword-only parameters are the options of the section `model`: their types are checked, and their
descriptions below are what `framework list model` shows. A ValueError becomes a config error.
"""

from __future__ import annotations

from torch import Tensor, nn

from framework.data.batch import DataSpec
from framework.options import Count
from framework.registry import register


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, images: Tensor) -> Tensor:
        """(n, width, h, w) to the same."""
        out: Tensor = images + self.branch(images)
        return out


@register.model("conv_mixer")
def conv_mixer(
    spec: DataSpec, *, width: Count = 64, depth: Count = 4, kernel_size: Count = 5, patch_size: Count = 2
) -> nn.Module:
    """ConvMixer: depthwise convolutions mix the places of an image, 1x1 convolutions its channels.

    Args:
        width: channels throughout the network.
        depth: number of mixing blocks.
        kernel_size: side of the depthwise convolutions; odd, so that an image keeps its size.
        patch_size: side of the square patches in pixels; it must divide height and width.
    """
    if len(spec.input_shape) != 3:
        raise ValueError(
            f"needs images of shape (channels, height, width); the data has shape {spec.input_shape}"
        )
    channels, height, image_width = spec.input_shape
    if height % patch_size or image_width % patch_size:
        raise ValueError(f"patch_size {patch_size} does not divide {height}x{image_width} pixels")
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd; got {kernel_size}")

    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, patch_size, stride=patch_size),
        *_activated(width),
    ]
    for _ in range(depth):
        places = nn.Conv2d(width, width, kernel_size, groups=width, padding="same")
        layers += [
            Residual(nn.Sequential(places, *_activated(width))),
            nn.Conv2d(width, width, kernel_size=1),
            *_activated(width),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, spec.num_outputs))


def _activated(width: int) -> list[nn.Module]:
    return [nn.GELU(), nn.BatchNorm2d(width)]
