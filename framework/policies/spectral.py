"""Spectral risks: losses weighed by their rank (Mehta et al., AISTATS 2023, arXiv 2212.05149)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, validate_call
from torch import Tensor

from framework.options import Positive, PositiveFraction
from framework.policies.base import Policy, SampleLosses
from framework.policies.ranking import spread_over_ties
from framework.registry import register

AtLeastOne = Annotated[float, Field(ge=1, allow_inf_nan=False)]


@register.policy("spectral")
class Spectral(Policy):
    """Spectral risk sum_i sigma_i l_(i) over the sorted losses, sigma growing with the rank.

    sigma_i is the integral of a density s on [0, 1] between (i - 1)/n and i/n:

        superquantile  s(u) = 1 / alpha for u >= 1 - alpha       the mean of the alpha largest (CVaR)
        extremile      s(u) = draws u^(draws - 1)                the expected largest of `draws` samples
        esrm           s(u) = risk exp(risk (u - 1)) / (1 - exp(-risk))

    as in the authors' `deshift/_src/spectra.py` (ronakdm/deshift), without their shift penalty. Losses
    that tie share alike.

    Args:
        spectrum: superquantile, extremile or esrm (exponential spectral risk measure).
        alpha: share of the batch that counts (superquantile); 1 is ERM.
        draws: number of draws, whole or not (extremile); 1 is ERM.
        risk: risk aversion (esrm); towards 0 it is ERM.

    Raises:
        ValueError: an option of a spectrum that is not chosen.
    """

    @validate_call
    def __init__(
        self,
        *,
        spectrum: Literal["superquantile", "extremile", "esrm"] = "superquantile",
        alpha: PositiveFraction = 0.5,
        draws: AtLeastOne = 2.0,
        risk: Positive = 1.0,
    ) -> None:
        given = {"superquantile": alpha != 0.5, "extremile": draws != 2.0, "esrm": risk != 1.0}
        for name, option in (("superquantile", "alpha"), ("extremile", "draws"), ("esrm", "risk")):
            if given[name] and spectrum != name:
                raise ValueError(f"{option} belongs to spectrum: {name}")
        self.spectrum = spectrum
        self.alpha = alpha
        self.draws = draws
        self.risk = risk

    def weights(self, samples: SampleLosses) -> Tensor:
        """sigma at the rank of each loss, (n,)."""
        losses = samples.loss.double()
        num_samples = len(losses)
        ordered, order = losses.sort(stable=True)
        edges = torch.arange(num_samples + 1, dtype=losses.dtype, device=losses.device) / num_samples
        sigma = self._integral(edges).diff()
        sigma = spread_over_ties(ordered, sigma, torch.ones_like(sigma))
        return torch.zeros_like(losses).index_copy(0, order, sigma).to(samples.loss.dtype)

    def _integral(self, edges: Tensor) -> Tensor:
        """The integral of s from 0 to each edge."""
        if self.spectrum == "superquantile":
            return (1.0 - (1.0 - edges) / self.alpha).clamp(min=0.0)
        if self.spectrum == "extremile":
            return edges.pow(self.draws)
        # exp(risk (u - 1)) and not exp(risk u) / exp(risk), which overflows
        floor = math.exp(-self.risk)
        return ((self.risk * (edges - 1.0)).exp() - floor) / -math.expm1(-self.risk)
