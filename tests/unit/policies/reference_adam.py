"""Adam with eps beside the *uncorrected* second moment, as the authors of ALSO write it."""

from __future__ import annotations

import math
from typing import Any

import torch


class UncorrectedEpsAdam(torch.optim.Adam):
    """`torch.optim.Adam` whose eps is divided by the bias correction: the same step as theirs."""

    def __init__(self, params: Any, eps: float, **options: Any) -> None:
        self.uncorrected_eps = eps
        super().__init__(params, eps=eps, **options)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            state = self.state.get(group["params"][0], {})
            count = float(state.get("step", 0)) + 1
            group["eps"] = self.uncorrected_eps / math.sqrt(1 - group["betas"][1] ** count)
        return super().step(closure)
