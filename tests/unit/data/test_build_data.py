from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from framework.config.batch_plan import BatchPlan
from framework.data.build import Data, build_data
from framework.data.in_memory import ArrayDataset
from framework.errors import ConfigError
from framework.parallel.world import World
from tests.data_samples import data_config

SYNTHETIC = {
    "source": {"name": "synthetic_groups", "n": 400, "n_evaluation": 40},
    "splits": {"validation": 0, "test": 0},
    "groups": ["label", "attribute"],
}


def synthetic(seed: int = 0, **sections: object) -> Data:
    return build_data(data_config(**{**SYNTHETIC, **sections}), seed)


def test_the_whole_section_becomes_splits_groups_and_lines() -> None:
    data = synthetic()
    assert data.spec.input_shape == (22,)
    assert data.groups.counts.tolist() == [190, 10, 10, 190]
    assert data.policy_groups is data.groups
    assert data.group_shares == pytest.approx([0.475, 0.025, 0.025, 0.475])
    assert data.describe() == [
        ("data", "synthetic_groups: train 400, validation 40, test 40; inputs 22, 2 classes"),
        ("group label=0, attribute=0", "train 190, validation 10, test 10"),
        ("group label=0, attribute=1", "train 10, validation 10, test 10"),
        ("group label=1, attribute=0", "train 10, validation 10, test 10"),
        ("group label=1, attribute=1", "train 190, validation 10, test 10"),
    ]


@pytest.mark.parametrize("replacement", [True, False])
def test_balanced_sampling_gives_equal_shares_of_the_groups_and_that_is_what_is_drawn(
    replacement: bool,
) -> None:
    data = synthetic(
        sampling={"name": "group_balanced", "replacement": replacement}, policy_groups=["attribute"]
    )
    assert data.group_shares == pytest.approx([0.5, 0.5])
    assert data.policy_groups.names == ("0", "1")
    loader = data.train_loader(BatchPlan.solve(40, None, 1), World())
    assert loader.steps_per_epoch == (10 if replacement else 1)
    drawn = torch.cat([next(loader).micros[0].index for _ in range(200)])
    groups = data.groups.assign(data.splits["train"])[drawn.numpy()]
    assert np.bincount(groups) / len(groups) == pytest.approx(0.25, abs=0.02)


def test_each_sample_may_be_a_group_of_the_policy_while_metrics_keep_theirs() -> None:
    data = synthetic(policy_groups="sample")
    batch = next(data.train_loader(BatchPlan.solve(8, None, 1), World())).micros[0]
    assert torch.equal(batch.groups, batch.index)
    assert len(data.policy_groups) == 400
    assert data.group_shares == pytest.approx(1 / 400)
    assert ("policy groups", "400") in data.describe()
    evaluated = next(iter(data.evaluation_loader("test", 40, World())))
    assert torch.bincount(evaluated.groups).tolist() == [10, 10, 10, 10]


def test_a_group_without_training_samples_is_reported() -> None:
    transforms = [{"name": "subsample", "classes": {"1": 0.0}}]
    data = synthetic(transforms=transforms, groups=["label"])
    assert data.groups.counts.tolist() == [200, 0]
    assert data.describe()[2] == ("group 1", "train 0, validation 20, test 20 (none to train on)")


def test_the_same_section_and_seed_give_the_same_data() -> None:
    assert synthetic().fingerprint() == synthetic().fingerprint()
    assert synthetic().fingerprint() != synthetic(seed=1).fingerprint()


def test_a_fixed_split_seed_fixes_the_data_and_leaves_the_order_free() -> None:
    digits = {
        "source": {"name": "digits"},
        "splits": {"seed": 3},
        "transforms": [{"name": "long_tail"}, {"name": "label_noise", "rate": 0.2}],
    }
    first, second = (build_data(data_config(**digits), seed) for seed in (0, 1))
    assert first.fingerprint() == second.fingerprint()
    assert first.order.epoch(0).tolist() != second.order.epoch(0).tolist()


def test_a_fixed_split_seed_fixes_a_generated_source_too() -> None:
    fixed = {"validation": 0, "test": 0, "seed": 5}
    assert synthetic(splits=fixed).fingerprint() == synthetic(seed=1, splits=fixed).fingerprint()


def test_the_fingerprint_sees_inputs_labels_and_metadata() -> None:
    data = synthetic()
    train = data.splits["train"]
    assert isinstance(train, ArrayDataset)
    assert isinstance(train.inputs, Tensor)

    def other(changed: ArrayDataset) -> str:
        return replace(data, splits={**data.splits, "train": changed}).fingerprint()

    same = ArrayDataset(train.inputs, train.targets, train.spec, train.columns)
    assert other(same) == data.fingerprint()
    assert (
        other(ArrayDataset(train.inputs + 1e-6, train.targets, train.spec, train.columns))
        != data.fingerprint()
    )
    assert (
        other(ArrayDataset(train.inputs, 1 - train.targets, train.spec, train.columns)) != data.fingerprint()
    )
    columns = {**train.columns, "attribute": train.columns["label"]}
    assert other(ArrayDataset(train.inputs, train.targets, train.spec, columns)) != data.fingerprint()
    assert other(train.select(np.arange(399))) != data.fingerprint()


def test_an_unknown_split_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"the data has no split 'validaton'; did you mean validation\?"):
        synthetic().evaluation_loader("validaton", 8, World())
