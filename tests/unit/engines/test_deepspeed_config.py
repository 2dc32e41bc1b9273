"""The generated configuration leaves nothing that matters to DeepSpeed's defaults; additions are checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from framework.engines import deepspeed as engine
from framework.engines import deepspeed_setup
from framework.engines.deepspeed_config import (
    ALLOWED,
    CONTRADICTING,
    CONTRADICTING_ZERO,
    check_added,
    generate,
)
from framework.engines.deepspeed_setup import check_model, check_optimizer, load_deepspeed
from framework.errors import ConfigError, UserError
from framework.optim.optimistic import Optimistic
from framework.parallel.world import World


def generated(stage: int = 1, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "offload_optimizer": False,
        "offload_parameters": False,
        "autocast": False,
        "world_size": 4,
        "num_parameters": 1000,
        "added": {},
    }
    return generate(stage=stage, **{**options, **changes})


def problems(added: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        check_added(added)
    return str(caught.value)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_clipping_is_always_written(stage: int) -> None:
    assert generated(stage)["gradient_clipping"] == 0.0


def test_batch_arithmetic_is_consistent() -> None:
    config = generated(world_size=4)
    product = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * 4
    assert config["train_batch_size"] == product


def test_no_scheduler_and_no_optimizer_is_handed_over() -> None:
    assert not {"scheduler", "optimizer", "fp16", "bf16"} & generated().keys()


def test_offload_and_buckets() -> None:
    zero = generated(3, offload_optimizer=True, offload_parameters=True)["zero_optimization"]
    assert zero["offload_optimizer"] == zero["offload_param"] == {"device": "cpu"}
    assert zero["reduce_bucket_size"] == 1000
    assert generated(num_parameters=10**12)["zero_optimization"]["reduce_bucket_size"] == 500_000_000


def test_linear_is_replaced_only_where_weights_are_converted() -> None:
    assert generated(3)["zero_optimization"]["memory_efficient_linear"] is False
    assert generated(3, autocast=True)["zero_optimization"]["memory_efficient_linear"] is True


def test_additions_are_merged() -> None:
    added = {"wall_clock_breakdown": True, "zero_optimization": {"overlap_comm": False}}
    config = generated(2, added=added)
    assert config["wall_clock_breakdown"] is True
    assert config["zero_optimization"]["stage"] == 2
    assert config["zero_optimization"]["overlap_comm"] is False


def test_unknown_keys_name_the_nearest_one() -> None:
    text = problems({"gradient_cliping": 1.0, "wall_clock_breakdwn": True})
    assert "engine.deepspeed.gradient_cliping" in text
    assert "did you mean gradient_clipping?" in text
    assert "did you mean wall_clock_breakdown?" in text


@pytest.mark.parametrize("key", CONTRADICTING)
def test_what_the_run_decides_is_refused(key: str) -> None:
    assert f"engine.deepspeed.{key}" in problems({key: 1})


@pytest.mark.parametrize("key", CONTRADICTING_ZERO)
def test_what_the_preset_decides_is_refused(key: str) -> None:
    assert f"engine.deepspeed.zero_optimization.{key}" in problems({"zero_optimization": {key: 1}})


def test_no_key_is_both_allowed_and_refused() -> None:
    assert not ALLOWED & CONTRADICTING.keys()


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"stage": 0, "offload_optimizer": True}, "engine.offload_optimizer"),
        ({"stage": 2, "offload_parameters": True}, "engine.offload_parameters"),
        ({"stage": 3, "compile": True}, "engine.compile"),
    ],
)
def test_an_option_needs_its_stage(options: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        engine.deepspeed(None, **options)  # type: ignore[arg-type]


def test_without_deepspeed_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed_setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'framework\[deepspeed\]'"):
        load_deepspeed(World(), torch.device("cpu"))


def test_a_parameter_without_dimensions_is_refused() -> None:
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.zeros(1))
    check_model(model)
    model.temperature = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"temperature.*shape \(1,\)"):
        check_model(model)


@pytest.mark.parametrize("name", ["Adagrad", "Adafactor", "Muon"])
def test_optimizers_that_would_become_others_are_refused(name: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = getattr(torch.optim, name)([parameter])
    check_optimizer(optimizer, 0)
    for wrapped in (optimizer, Optimistic(optimizer)):
        with pytest.raises(ConfigError, match=rf"{name}.*engine=zero0"):
            check_optimizer(wrapped, 1)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam", "RMSprop"])
def test_elementwise_optimizers_pass(name: str) -> None:
    check_optimizer(getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2))], lr=0.1), 3)
