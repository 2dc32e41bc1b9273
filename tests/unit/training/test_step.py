"""What the step asks of a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from framework.errors import PluginError
from framework.policies.base import Policy, SampleLosses
from framework.tasks.classification import Classification
from tests.tiny import assembled


class OneTooMany(Policy):
    needs_batch = False

    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.ones(len(samples.loss) + 1)


class OneForAll(Policy):
    def weights(self, samples: SampleLosses) -> Tensor:
        return torch.ones(())


@pytest.mark.parametrize("policy", [OneTooMany(), OneForAll()])
@pytest.mark.parametrize("micro", ["null", "8"])
def test_a_policy_that_does_not_weigh_each_sample_is_named(
    policy: Policy, micro: str, tmp_path: Path
) -> None:
    run = assembled(tmp_path, [f"batch.micro={micro}"])
    object.__setattr__(run.step, "policy", policy)
    with pytest.raises(PluginError, match=rf"policy {type(policy).__name__} gave weights of shape"):
        run.step(next(run.loader))


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
