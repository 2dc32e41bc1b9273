"""`objective` in somebody else's loop on two processes is the objective on the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from framework.parallel.process_group import process_group
from framework.parallel.world import World
from framework.policies import ABSGD, ALSO, RGD, CVaR, Deferred, DoReMi, GroupDRO, Policy, Trimmed
from tests.distributed import run_ranks

COUNTS = [5, 4, 2]
POLICIES: dict[str, Callable[[], Policy]] = {
    "rgd": RGD,
    "cvar": lambda: CVaR(alpha=0.4),
    "absgd": ABSGD,
    "group_dro": lambda: GroupDRO(COUNTS, step_size=0.5),
    "also": lambda: ALSO(COUNTS, mode="descent_ascent", pi_lr=0.5),
    "doremi": lambda: DoReMi(COUNTS),
    "deferred": lambda: Deferred(base=Trimmed(fraction=0.2, base=CVaR(alpha=0.5)), step=2),
}
#: rows of rank 0 and rank 1 in each step: uneven, and one with nothing
SPLITS = [(6, 5), (8, 3), (11, 0), (1, 10)]


def trained(name: str, rank: int, world_size: int) -> tuple[list[float], dict[str, list[float]]]:
    torch.manual_seed(0)
    inputs, targets = torch.randn(4, 11, 3, dtype=torch.float64), torch.randn(4, 11, dtype=torch.float64)
    groups = torch.tensor([0, 0, 1, 2, 1, 0, 0, 1, 2, 1, 0])
    policy = POLICIES[name]()
    linear = nn.Linear(3, 1).double()
    model = DistributedDataParallel(linear) if world_size > 1 else linear
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    for step, (first, _) in enumerate(SPLITS):
        rows = slice(0, 11) if world_size == 1 else (slice(0, first), slice(first, 11))[rank]
        losses = (model(inputs[step, rows]).squeeze(1) - targets[step, rows]).square()
        extra = {"baseline_loss": targets[step, rows].abs()}
        policy.objective(losses, groups[rows], extra).backward()
        optimizer.step()
        optimizer.zero_grad()
    state = {key: value.flatten().tolist() for key, value in policy.state_dict().items()}
    return [*linear.weight.flatten().tolist(), *linear.bias.tolist()], state


def on_two_ranks() -> dict[str, tuple[list[float], dict[str, list[float]]]]:
    world = World.detect()
    with process_group(world, 60):
        results = {name: trained(name, world.rank, world.size) for name in POLICIES}
        weights = torch.full((2 if world.is_main else 1,), 2.0, requires_grad=True)
        RGD(clip=1.0).objective(weights, gradients="sum").backward()
        assert weights.grad is not None
        results["sum"] = (weights.grad.tolist(), {})
    return results


def test_two_processes_are_one() -> None:
    ranks = run_ranks(on_two_ranks, 2, timeout=120)
    for name in POLICIES:
        weights, state = trained(name, 0, 1)
        for reached, reached_state in (rank[name] for rank in ranks):
            assert reached == pytest.approx(weights, abs=1e-12), name
            assert reached_state.keys() == state.keys()
            for key, values in state.items():
                assert reached_state[key] == pytest.approx(values, abs=1e-12), (name, key)
    whole = torch.full((3,), 2.0, requires_grad=True)
    RGD(clip=1.0).objective(whole).backward()
    assert whole.grad is not None
    assert [*ranks[0]["sum"][0], *ranks[1]["sum"][0]] == whole.grad.tolist()
