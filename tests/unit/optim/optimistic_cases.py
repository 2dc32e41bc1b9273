"""Optimizers to take the half step with, and a problem for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.optim.optimistic import LOOKAHEAD

Make = Callable[[Any], torch.optim.Optimizer]


class SignMomentum(torch.optim.Optimizer):
    """An own optimizer: state that is made lazily, a list in it, and a counter in the group."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "calls": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["calls"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                assert LOOKAHEAD not in state
                if not state:
                    state["count"] = [0]
                    state["velocity"] = torch.zeros_like(p)
                state["count"][0] += 1
                state["velocity"] = 0.9 * state["velocity"] + p.grad / state["count"][0]
                p.sub_(group["lr"] * state["velocity"].sign() * (1 + group["calls"]))


BASES: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "own": SignMomentum,
}
each_base = pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())
each_state = pytest.mark.parametrize("state", ["restored", "shared"])


def parameters(count: int = 3) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.Parameter(torch.randn(4, i + 1, generator=generator, dtype=torch.float64))
        for i in range(count)
    ]


def gradients(seed: int, like: list[Any]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in like]


def step(optimizer: torch.optim.Optimizer, params: list[Any], seed: int) -> None:
    """A step whose gradient depends on the live point, as a forward pass there would."""
    for p, noise in zip(params, gradients(seed, params), strict=True):
        p.grad = noise + 0.3 * p.detach()
    optimizer.step()


def values(params: list[Any]) -> list[Tensor]:
    return [p.detach().clone() for p in params]


def assert_same(left: list[Tensor], right: list[Tensor]) -> None:
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a, b)
