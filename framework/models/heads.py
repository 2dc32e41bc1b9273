"""The last layer of a classifier."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Literal["linear", "cosine"]


class CosineLinear(nn.Module):
    """The cosine between features and one direction per class: logits in [-1, 1], without bias.

    The normalised layer of LDAM (arXiv 1906.07413, section 3.1); its loss multiplies them by a `scale`.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features)."""
        return F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


def make_head(kind: Head, in_features: int, out_features: int) -> nn.Module:
    """The layer that `kind` names."""
    return (CosineLinear if kind == "cosine" else nn.Linear)(in_features, out_features)
