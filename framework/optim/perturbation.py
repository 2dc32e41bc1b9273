"""The worst point near the weights, to first order: where SAM takes its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def perturb(
    weights: list[Tensor],
    gradients: list[Tensor],
    rho: float,
    norm: Callable[[list[Tensor]], Tensor],
    *,
    adaptive: bool,
) -> list[Tensor]:
    """Move `weights` in place by `rho` along `gradients`; returns what they were.

    w + rho g / |g| (Foret et al., ICLR 2021, arXiv 2010.01412, equation 2); adaptive is
    w + rho w^2 g / |w g| (Kwon et al., ICML 2021, arXiv 2102.11600, equation 9 with T_w = |w|).

    Args:
        norm: of all tensors together, also of those that other ranks hold; a scalar.
    """
    before = [weight.clone() for weight in weights]
    directions = gradients
    if adaptive:
        sizes = torch._foreach_abs(weights)
        directions = list(torch._foreach_mul(gradients, sizes))
    factor = rho / (norm(directions) + 1e-12)
    if adaptive:
        torch._foreach_mul_(directions, sizes)
    torch._foreach_add_(weights, torch._foreach_mul(directions, factor))
    return before
