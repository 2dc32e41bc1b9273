"""What the step asks of a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from framework.errors import PluginError
from framework.policies.base import Policy, SampleLosses
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
