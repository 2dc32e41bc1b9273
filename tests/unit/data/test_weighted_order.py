import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from framework.config.batch_plan import BatchPlan
from framework.data.build import Data, build_data
from framework.data.group_weights import read_weights, shares_of, write_weights
from framework.data.loader import TrainLoader
from framework.data.weighted_order import WeightedOrder
from framework.errors import ConfigError, DataError, UserError
from framework.parallel.world import World
from tests.data_samples import data_config, labelled

GROUPS = np.repeat([0, 1, 2, 3], [50, 7, 23, 40])
SHARES = np.array([0.1, 0.6, 0.3, 0.0])


def test_groups_are_drawn_by_their_shares() -> None:
    order = WeightedOrder(GROUPS, SHARES, seed=4)
    drawn = np.concatenate([order.epoch(epoch) for epoch in range(200)])
    counts = np.bincount(GROUPS[drawn], minlength=4)
    assert len(drawn) == 200 * len(order) == 200 * 120
    assert counts[3] == 0
    assert chisquare(counts[:3], SHARES[:3] * len(drawn)).pvalue > 0.01
    # inside a group every sample is as likely as any other; without replacement it varies less still
    for group in range(3):
        inside = np.bincount(drawn, minlength=120)[group == GROUPS]
        assert chisquare(inside).pvalue > 0.01


def test_the_chances_are_those_of_the_draws() -> None:
    chances = WeightedOrder(GROUPS, SHARES, seed=4).probabilities()
    assert chances == pytest.approx(np.repeat(SHARES / [50, 7, 23, 40], [50, 7, 23, 40]))
    assert chances.sum() == pytest.approx(1)


def test_no_sample_of_a_group_comes_again_before_all_of_it_came() -> None:
    drawn = WeightedOrder(GROUPS, SHARES, seed=0).epoch(3)
    small = drawn[GROUPS[drawn] == 1]
    assert len(small) > 21
    rounds = [small[start : start + 7] for start in range(0, len(small) - 6, 7)]
    assert all(set(one.tolist()) == set(range(50, 57)) for one in rounds)
    assert len({tuple(one.tolist()) for one in rounds}) > 1
    large = drawn[GROUPS[drawn] == 0]
    assert len(set(large.tolist())) == len(large)


def test_seed_and_epoch_decide_and_nothing_else() -> None:
    orders = [WeightedOrder(GROUPS, SHARES, seed) for seed in (0, 1)]
    epochs = [order.epoch(epoch).tolist() for order in orders for epoch in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 6
    fresh = WeightedOrder(GROUPS, SHARES, 1)
    assert fresh.positions(2, 30, 60).tolist() == epochs[5][30:60]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_layout_goes_on_at_every_point(world: int, workers: int) -> None:
    order = WeightedOrder(GROUPS, SHARES, seed=9)
    wanted = np.concatenate([order.epoch(epoch) for epoch in range(2)]).tolist()
    plan = BatchPlan.solve(12, 2, world)
    data = labelled(np.zeros(120, dtype=int))
    # inside an epoch, at its last step, and in the next one; background processes take time to start
    for resumed in (0, 4, 9, 13) if workers == 0 else (7,):
        ranks = [TrainLoader(data, GROUPS, order, plan, World(rank, world), workers) for rank in range(world)]
        seen: list[int] = []
        try:
            for rank in ranks:
                rank.load_state_dict({"epoch": resumed // 10, "step": resumed % 10})
            for _ in range(5):
                batches = [next(rank) for rank in ranks]
                for micros in zip(*(batch.micros for batch in batches), strict=True):
                    seen += [index for micro in micros for index in micro.index[micro.valid].tolist()]
        finally:
            for rank in ranks:
                rank.close()
        assert seen == wanted[resumed * 12 : (resumed + 5) * 12]


def digits(**sampling: object) -> Data:
    return build_data(
        data_config(
            source={"name": "synthetic_groups", "n": 400},
            splits={"validation": 0, "test": 0},
            groups=["label", "attribute"],
            sampling={"name": "weighted", **sampling},
        ),
        seed=0,
    )


def test_the_policy_is_told_the_shares_of_the_draws() -> None:
    weights = {f"label={y}, attribute={a}": w for y, a, w in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 4))}
    data = digits(weights=weights)
    assert dict(zip(data.groups.names, data.group_shares, strict=True)) == pytest.approx(
        {name: weight / 8 for name, weight in weights.items()}
    )
    assert data.class_shares == pytest.approx([3 / 8, 5 / 8])


def test_weights_may_be_by_another_column_than_the_groups() -> None:
    data = digits(weights={"0": 1, "1": 3}, by=["attribute"])
    drawn = data.splits["train"].columns["attribute"].values[data.order.epoch(0)]
    assert chisquare(np.bincount(drawn), np.array([100, 300])).pvalue > 0.01
    assert data.class_shares == pytest.approx(
        # 190 of 200 samples of each attribute have its label
        [0.25 * 0.95 + 0.75 * 0.05, 0.25 * 0.05 + 0.75 * 0.95]
    )
    with pytest.raises(ConfigError, match=r"no column 'atribute'; did you mean attribute\?"):
        digits(weights={"0": 1, "1": 3}, by=["atribute"])


def test_other_weights_are_other_data(tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    found = set()
    for weight in (1.0, 2.0, 1.0):
        write_weights(path, {"0": weight, "1": 1.0})
        found.add(digits(weights=str(path), by=["attribute"]).fingerprint())
    assert len(found) == 2


def test_a_file_of_weights_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mixture.json"
    weights = {"prose": 0.1 + 0.2, "code": 1 / 3, "tables": 0.0}
    write_weights(path, weights)
    assert read_weights(str(path)) == weights
    assert json.loads(path.read_text()) == {"groups": list(weights), "weights": list(weights.values())}
    shares = shares_of(str(path), ["tables", "prose", "code"], np.array([0, 5, 5]))
    assert shares == pytest.approx(np.array([0, 0.3, 1 / 3]) / (0.3 + 1 / 3))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_weights(tmp_path / "file" / "mixture.json", weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "needs a weight for each of prose, code"),
        ({"prsoe": 1, "code": 1}, r"no group 'prsoe'; did you mean prose\?; group 'prose' has no weight"),
        ({"prose": 1}, "group 'code' has no weight; groups: prose, code"),
        ({"prose": 0, "code": 0}, "all weights are 0"),
    ],
)
def test_weights_must_fit_the_groups(weights: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shares_of(weights, ["prose", "code"], np.array([3, 4]))


def test_a_group_without_samples_cannot_have_weight() -> None:
    with pytest.raises(ConfigError, match="'code' has no training samples, so its weight must be 0"):
        shares_of({"prose": 1, "code": 0.1}, ["prose", "code"], np.array([3, 0]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file of weights"),
        ("[]", "holds no object"),
        ('{"groups": ["a"]}', "holds groups; expected"),
        ('{"groups": ["a", "b"], "weights": [1]}', "2 groups have 1 weights"),
        ('{"groups": ["a", "a"], "weights": [1, 1]}', "a group occurs twice"),
        ('{"groups": ["a"], "weights": [-1]}', "finite numbers of at least 0"),
        ('{"groups": ["a"], "weights": [NaN]}', "finite numbers of at least 0"),
        (f'{{"groups": ["a"], "weights": [1{"0" * 400}]}}', "finite numbers of at least 0"),
        ('{"groups": [1], "weights": [1]}', "`groups` is not a list of names"),
    ],
)
def test_a_broken_file_of_weights_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mixture.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_weights(str(path))
    assert str(path) in str(caught.value)
