from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from framework.callbacks.sample_weights import SampleWeights
from framework.policies.base import SampleLosses


def fake_run(weights, step=50, each_sample=False):
    num = 8
    generator = torch.Generator().manual_seed(0)
    samples = SampleLosses(
        loss=torch.rand(num, generator=generator),
        groups=torch.tensor([0, 0, 0, 2, 2, 2, 2, 2]),
        index=torch.arange(100, 100 + num),
        num_samples=num,
    )
    reported = []
    groups = SimpleNamespace(names=("a", "b", "c"), each_sample=each_sample)
    run = SimpleNamespace(
        progress=SimpleNamespace(step=step, epoch=2),
        last=SimpleNamespace(samples=samples, weights=weights),
        data=SimpleNamespace(policy_groups=groups),
        report=reported.append,
    )
    return run, reported


def test_quantiles_and_the_heaviest_samples_are_those_of_numpy():
    weights = torch.tensor([0.3, 0.05, 0.1, 0.2, 0.05, 0.15, 0.05, 0.1])
    run, reported = fake_run(weights)
    SampleWeights(every_steps=25, top=3).on_step(run)
    (record,) = reported
    scaled = weights.double().numpy() * 8
    levels = [0, 0.1, 0.5, 0.9, 1]
    assert list(record["weights"].values()) == pytest.approx(np.quantile(scaled, levels))
    assert [group["name"] for group in record["groups"]] == ["a", "c"]
    assert [group["count"] for group in record["groups"]] == [3, 5]
    assert record["groups"][1]["p10"] == pytest.approx(np.quantile(scaled[3:], 0.1))
    assert [(sample["index"], sample["group"]) for sample in record["top"]] == [
        (100, "a"),
        (103, "c"),
        (105, "c"),
    ]
    assert record["top"][0]["weight"] == pytest.approx(2.4)
    assert record["top"][0]["sample_loss"] == run.last.samples.loss[0].item()
    assert (record["event"], record["step"], record["epoch"]) == ("sample_weights", 50, 2)
    json.dumps(record, allow_nan=False)


def test_with_a_group_for_each_sample_groups_are_not_listed():
    run, reported = fake_run(torch.full((8,), 1 / 8), each_sample=True)
    SampleWeights().on_step(run)
    assert reported[0]["groups"] == []
    assert reported[0]["weights"]["max"] == pytest.approx(1)


def test_nothing_is_reported_between_or_after_a_skipped_step():
    for run, reported in (fake_run(torch.ones(8), step=49), fake_run(None)):
        SampleWeights(every_steps=50).on_step(run)
        assert reported == []
    run, reported = fake_run(torch.ones(8))
    run.last = None
    SampleWeights().on_step(run)
    assert reported == []
