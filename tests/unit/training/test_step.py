"""What the step asks of a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from framework.errors import PluginError
from framework.parallel.world import World
from framework.policies.base import Policy, SampleLosses
from framework.registry import register
from framework.tasks.classification import Classification
from framework.training.check import check
from tests.registrations import rolled_back
from tests.tiny import assembled, loaded


class OneTooMany(Policy):
    needs_batch = False

    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.ones(len(samples.loss) + 1)


class OneForAll(Policy):
    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.ones(())


class ForgotToReturn(Policy):
    def weights(self, samples: SampleLosses) -> Tensor:
        return None  # type: ignore[return-value]


class Negative(Policy):
    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.full_like(samples.loss, -1.0 / samples.num_samples)


@pytest.mark.parametrize("policy", [OneTooMany(), OneForAll(), ForgotToReturn()])
@pytest.mark.parametrize("micro", ["null", "8"])
def test_a_policy_that_does_not_weigh_each_sample_is_named(
    policy: Policy, micro: str, tmp_path: Path
) -> None:
    run = assembled(tmp_path, [f"batch.micro={micro}"])
    object.__setattr__(run.step, "policy", policy)
    with pytest.raises(PluginError, match=rf"{type(policy).__name__} gave (weights of shape|NoneType)"):
        run.step(next(run.loader))


def test_check_meets_a_negative_weight(tmp_path: Path) -> None:
    with rolled_back():
        register.policy("negative")(Negative)
        with pytest.raises(PluginError, match="Negative gave a negative weight on the first batch"):
            check(loaded(tmp_path, ["policy={name: negative}"]), World())
        Negative.may_be_negative = True
        check(loaded(tmp_path, ["policy={name: negative}"]), World())


class Told(Policy):
    """Equal weights; remembers what it was shown."""

    shown: dict[str, Tensor]

    def __init__(self, needs_batch: bool) -> None:
        self.needs_batch = needs_batch

    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.full_like(samples.loss, 1 / samples.num_samples)

    def update(self, samples: SampleLosses) -> None:
        self.shown = dict(samples.extra)


@pytest.mark.parametrize("needs_batch", [True, False])
@pytest.mark.parametrize("micro", ["null", "8"])
def test_a_task_s_columns_reach_the_policy(needs_batch: bool, micro: str, tmp_path: Path) -> None:
    run = assembled(tmp_path, [f"batch.micro={micro}"])
    policy = Told(needs_batch)
    object.__setattr__(run.step, "policy", policy)
    assert isinstance(run.task, Classification)
    run.task.columns = lambda outputs, batch: {"position": 2.0 * batch.index}  # type: ignore[method-assign]
    run.data.splits["train"].extra = {
        "weight": np.arange(len(run.data.splits["train"]), dtype=np.float32),
        "image": np.zeros((len(run.data.splits["train"]), 4), dtype=np.float32),
    }
    loader = run.data.train_loader(run.plan, run.world)
    batch = next(loader)
    samples = run.step(batch).samples
    assert set(policy.shown) == {"weight", "position"}
    assert torch.equal(policy.shown["weight"], samples.index.float())
    assert torch.equal(policy.shown["position"], 2.0 * samples.index)
    assert all(
        part.means == {"weight": pytest.approx(samples.index.double().mean().item())} for part in batch.micros
    )
