import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from framework.errors import ConfigError
from framework.optim.schedules import Schedule
from framework.registry import registry


def build(name: str, num_steps: int, **options: Any) -> Schedule:
    component = registry.get("schedule", name)
    schedule: Schedule = component.build(component.model(name=name, **options), num_steps=num_steps)
    return schedule


def factors(name: str, num_steps: int, **options: Any) -> list[float]:
    schedule = build(name, num_steps, **options)
    return [schedule.factor(step) for step in range(num_steps + 1)]


ROOT_HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, [1] * 9),
        ("constant", {"warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("constant", {"warmup_fraction": 0.25}, [0.5, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", {}, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]),
        (
            "linear",
            {"final_factor": 0.5, "warmup_steps": 4},
            [0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5],
        ),
        (
            "cosine",
            {"warmup_steps": 4},
            [0.25, 0.5, 0.75, 1, 1, (1 + ROOT_HALF) / 2, 0.5, (1 - ROOT_HALF) / 2, 0],
        ),
        (
            "cosine",
            {"warmup_steps": 4, "final_factor": 0.2},
            [0.25, 0.5, 0.75, 1, 1, 0.6 + 0.4 * ROOT_HALF, 0.6, 0.6 - 0.4 * ROOT_HALF, 0.2],
        ),
        ("step", {"milestones": [3, 6]}, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
        ("step", {"milestones": [0.75, 0.25], "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        ("step", {"milestones": [0.5, 0.99]}, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("step", {"milestones": [5], "warmup_steps": 2}, [0.5, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_factors_by_hand(name: str, options: dict[str, Any], expected: list[float]) -> None:
    assert factors(name, 8, **options) == pytest.approx(expected, abs=1e-12)


@given(
    name=st.sampled_from(["constant", "linear", "cosine", "step"]),
    num_steps=st.integers(4, 500),
    warmup=st.floats(0, 1),
)
def test_rises_then_never_rises_again(name: str, num_steps: int, warmup: float) -> None:
    values = factors(name, num_steps, warmup_fraction=warmup)
    top = round(warmup * num_steps)
    assert all(0 <= value <= 1 for value in values)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_apply_sets_every_group_from_its_own_rate() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [first], "lr": 1.0}, {"params": [second], "lr": 0.1}])
    optimizer.param_groups[1]["next_lr"] = None
    schedule = build("linear", 4)
    for step, expected in ((2, 0.5), (0, 1.0), (3, 0.25), (3, 0.25)):
        schedule.apply(optimizer, step)
        assert [group["lr"] for group in optimizer.param_groups] == [expected, pytest.approx(expected / 10)]
        assert optimizer.param_groups[1]["next_lr"] == pytest.approx((expected - 0.25) / 10)
    assert "next_lr" not in optimizer.param_groups[0]


def test_a_restored_optimizer_continues_from_the_undecayed_rate() -> None:
    weight = nn.Parameter(torch.zeros(1))
    schedule = build("linear", 4)
    stopped = torch.optim.SGD([weight], lr=1.0)
    schedule.apply(stopped, 2)
    resumed = torch.optim.SGD([weight], lr=1.0)
    resumed.load_state_dict(stopped.state_dict())
    schedule.apply(resumed, 3)
    assert resumed.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosine", {"warmup_steps": 9}, "warmup_steps 9 is more than the 8 steps"),
        ("constant", {"warmup_steps": 2, "warmup_fraction": 0.1}, "not both"),
        ("step", {"milestones": [3, 8]}, "milestone 8 is not before the end of the run at 8 steps"),
    ],
)
def test_what_cannot_be_is_a_config_error(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, 8, **options)
