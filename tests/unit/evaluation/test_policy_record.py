from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from framework.evaluation.policy_record import policy_record


def test_few_groups_are_named():
    numbers = {"q": torch.tensor([0.25, 0.75]), "clipped": torch.tensor(3)}
    record = policy_record(numbers, ["a", "b"], step=4, epoch=1)
    assert record == {"event": "policy", "step": 4, "epoch": 1, "q": {"a": 0.25, "b": 0.75}, "clipped": 3.0}


def test_many_groups_are_summed_up():
    values = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    record = policy_record({"pi": values}, [], step=1, epoch=0)
    summary = record["pi_summary"]
    assert "pi" not in record
    assert summary["groups"] == 1000
    assert (summary["min"], summary["max"]) == (values.min().item(), values.max().item())
    assert summary["entropy"] == pytest.approx(entropy(values.numpy()), rel=1e-12)
    order = np.argsort(-values.numpy())[:8]
    assert list(summary["top"]) == [str(group) for group in order]
    json.dumps(record)


def test_groups_of_another_number_than_names_are_numbered():
    record = policy_record({"q": torch.tensor([0.5, 0.5])}, ["a", "b", "c"], step=1, epoch=0)
    assert record["q"] == {"0": 0.5, "1": 0.5}


def test_a_policy_without_state_has_a_bare_record():
    assert policy_record({}, [], 1, 0) == {"event": "policy", "step": 1, "epoch": 0}
