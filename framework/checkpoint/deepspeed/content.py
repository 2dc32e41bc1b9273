"""What is in a checkpoint that DeepSpeed wrote, by parameter name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Content:
    """Whole tensors, put together from the files of all ranks.

    Attributes:
        kind: what wrote it, for a reader: `ZeRO stage 3 of 2 ranks`.
        step: optimizer steps that DeepSpeed counted.
        tensors: parameters (those that were trained in fp32) and buffers by name. Where the files do not say
            the shape, a tensor is flat.
        moments: what the optimizer keeps of each trained parameter; tensors of one number per element are
            laid out as the parameter, `step` and the like are numbers or tensors of one.
    """

    kind: str
    step: int
    tensors: dict[str, Tensor]
    moments: dict[str, dict[str, Any]]
