"""Paths recorded from the authors' code, reproduced to 1e-9 through the public classes."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from framework.optim.optimistic import Optimistic
from framework.policies import ALSO, ERM, GroupDRO, Policy

REFERENCE = Path(__file__).parents[2] / "reference"
EXACT = {"rtol": 0.0, "atol": 1e-9}
OFFICIAL_EPS = 2.0**-23

ALSO_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "optimistic_default": ({}, {"lr": 1e-3}),
    "optimistic_fast_pi": ({"pi_lr": 0.5, "pi_decay": 0.1}, {}),
    "optimistic_alpha_half": ({"alpha": 0.5, "pi_lr": 0.2}, {}),
    "optimistic_static_prior": ({"pi_reg": "prior", "pi_lr": 0.2, "pi_decay": 1.0}, {}),
    "optimistic_amsgrad_temperature": ({"pi_temperature": 1.1, "pi_lr": 0.1}, {"amsgrad": True}),
    "descent_ascent": ({"mode": "descent_ascent", "pi_lr": 0.5, "pi_decay": 0.1}, {}),
    "descent_ascent_prior_nodecay": (
        {"mode": "descent_ascent", "pi_reg": "prior", "pi_lr": 0.3, "pi_decay": 0.5},
        {"weight_decay": 0.0},
    ),
}

OFFICIAL_DRO = {"absent": "zero_loss", "floor": 0.0}
GROUP_DRO_CASES: dict[str, dict[str, Any]] = {
    "step_0.01": {**OFFICIAL_DRO},
    "step_0.5": {**OFFICIAL_DRO, "step_size": 0.5},
    "step_0.5_normalized": {**OFFICIAL_DRO, "step_size": 0.5, "normalize_losses": True},
    "step_0.5_adjust_2": {**OFFICIAL_DRO, "step_size": 0.5, "adjustment": 2.0},
    "btl_alpha_0.4": {"btl": True, "alpha": 0.4},
    "btl_alpha_0.2_minvar": {"btl": True, "alpha": 0.2, "minimum_variational_weight": 0.1},
}


class AuthorsAdam(torch.optim.Adam):
    """Adam with eps added to the *uncorrected* root of the second moment, as the authors of ALSO write it."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            count = float(self.state.get(group["params"][0], {}).get("step", 0)) + 1
            group["eps"] = OFFICIAL_EPS / math.sqrt(1 - group["betas"][1] ** count)
        return super().step(closure)


def load(name: str) -> dict[str, Tensor]:
    with np.load(REFERENCE / f"{name}_reference.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


@pytest.mark.parametrize("case", ALSO_CASES)
def test_also_follows_the_authors_path(case: str) -> None:
    data = load("also")
    options, adam_options = ALSO_CASES[case]
    options = {"pi_eps": OFFICIAL_EPS, **options}
    if "pi_reg" in options:
        options["pi_reg"] = data["prior"].tolist()
    optimistic = "mode" not in options
    if optimistic:
        options["half_step_state"] = "shared"
    policy = ALSO(torch.bincount(data["groups"]).tolist(), **options)
    w, b = data["w0"].clone().requires_grad_(), data["b0"].clone().requires_grad_()
    optimizer: torch.optim.Optimizer = AuthorsAdam(
        [w, b], **{"lr": 1e-2, "weight_decay": 1e-3, **adam_options}
    )
    if optimistic:
        assert policy.extrapolation is not None
        optimizer = Optimistic(optimizer, policy.extrapolation.alpha, policy.extrapolation.state)
    for step, rows in enumerate(data["order"]):
        losses = F.cross_entropy(data["x"][rows] @ w + b, data["y"][rows], reduction="none")
        optimizer.zero_grad()
        policy.objective(losses, data["groups"][rows]).backward()
        optimizer.step()
        scaled = losses.detach().mean() * 3 / 16
        torch.testing.assert_close(scaled, data[f"{case}/loss"][step], **EXACT)
        torch.testing.assert_close(policy.pi, data[f"{case}/pi"][step], **EXACT)
        with optimizer.true_point() if isinstance(optimizer, Optimistic) else nullcontext():
            torch.testing.assert_close(w.detach(), data[f"{case}/w"][step], **EXACT)
            torch.testing.assert_close(b.detach(), data[f"{case}/b"][step], **EXACT)


@pytest.mark.parametrize("case", [*GROUP_DRO_CASES, "erm"])
def test_group_dro_follows_the_authors_path(case: str) -> None:
    data = load("group_dro")
    counts = data["counts"].tolist()
    policy: Policy = ERM() if case == "erm" else GroupDRO(counts, **GROUP_DRO_CASES[case])
    w = data["w0"].clone().requires_grad_()
    for step, rows in enumerate(data["order"]):
        losses = F.cross_entropy(data["x"][rows] @ w, data["y"][rows], reduction="none")
        objective = policy.objective(losses, data["groups"][rows])
        (gradient,) = torch.autograd.grad(objective, w)
        with torch.no_grad():
            w -= 0.1 * gradient
        expected = objective.detach()
        if isinstance(policy, GroupDRO) and not policy.btl:
            # The authors add the adjustments to the loss they return.
            expected = expected + (policy.q * policy.adjustment).sum()
            torch.testing.assert_close(policy.q, data[f"{case}/q"][step], **EXACT)
        torch.testing.assert_close(expected, data[f"{case}/loss"][step], **EXACT)
        torch.testing.assert_close(w.detach(), data[f"{case}/w"][step], **EXACT)
