"""FRR: features that can be told from the logits (Addepalli et al., ICLR 2023, arXiv 2210.01360)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from framework.data.batch import Batch, DataSpec
from framework.options import NonNegative
from framework.policies.base import SampleLosses
from framework.registry import register
from framework.regularizers.base import Regularizer
from framework.tasks.base import Task

#: name of the layer that is added to the model
NAME = "feature_reconstruction"


@register.regularizer("frr")
class FRR(Regularizer):
    """FRR: the distance of the features from a linear reconstruction of them out of the logits.

    penalty * mean_i |A z_i + b - f_i|, where z = W f + c are the logits of the model's last linear layer and
    f its inputs. A and b are trained with the model, of which they are a part: `feature_reconstruction`.
    The authors train the last layer alone with it first, then the rest with that layer fixed; this is the
    penalty, for whatever is trained.

    Args:
        penalty: lambda, the factor of the penalty.
        norm: the distance: sum of absolute values, Euclidean, or the largest absolute value.
    """

    def __init__(
        self, spec: DataSpec, *, penalty: NonNegative = 0.1, norm: Literal["l1", "l2", "max"] = "l1"
    ) -> None:
        if spec.num_classes is None:
            raise ValueError("reconstructs features from logits; the data has no classes")
        self.num_classes = spec.num_classes
        self.factor = penalty
        self.order = {"l1": 1.0, "l2": 2.0, "max": float("inf")}[norm]

    def attach(self, model: nn.Module) -> None:
        """Add the reconstruction; in training the model then gives the distance as one more column."""
        layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
        if not layers or layers[-1].out_features != self.num_classes:
            raise ValueError(
                "needs a model whose last linear layer gives the logits (a cosine head is none);"
                f" {type(model).__name__} has none"
            )
        head = layers[-1]
        if hasattr(head, NAME):
            raise ValueError("is there already")
        reconstruction = Reconstruction(head, self.order)
        # A part of the layer and of its outputs, so that engines that shard the model have both at hand.
        head.add_module(NAME, reconstruction)
        head.register_forward_hook(reconstruction.append)

    def stripped(self, outputs: Tensor) -> Tensor:
        """The logits (micro, classes)."""
        return outputs[:, :-1]

    def terms(self, outputs: Tensor, batch: Batch, task: Task) -> Tensor:
        """The distances (micro,)."""
        return outputs[:, -1]

    def penalty(self, terms: Tensor, samples: SampleLosses) -> Tensor:
        """The factor times the mean distance."""
        return self.factor * terms.mean()


class Reconstruction(nn.Module):
    """A linear map from logits to features."""

    def __init__(self, head: nn.Linear, order: float) -> None:
        super().__init__()
        self.linear = nn.Linear(head.out_features, head.in_features)
        self.order = order

    def append(self, head: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor | None:
        """The layer's outputs with one more column, in training: how far its inputs are from the map's."""
        if not head.training:
            return None
        apart = self.linear(logits) - inputs[0]
        distances = torch.linalg.vector_norm(apart, self.order, dim=-1, keepdim=True)
        return torch.cat([logits, distances.to(logits.dtype)], dim=-1)
