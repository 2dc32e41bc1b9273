import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from framework.config.batch_plan import BatchPlan
from framework.data.batch import Batch, GlobalBatch, Inputs
from framework.data.dataset import Dataset
from framework.data.in_memory import ArrayDataset
from framework.data.loader import TrainLoader
from framework.data.order import GroupBalancedOrder, Order, UniformOrder
from framework.errors import CheckpointError, DataError
from framework.parallel.world import World
from tests.data_samples import labelled

N = 37
GROUPS = np.arange(N) % 3


def loaders(
    world: int, micro: int, size: int = 8, workers: int = 0, order: Order | None = None
) -> list[TrainLoader]:
    plan = BatchPlan.solve(size, micro, world)
    order = order or UniformOrder(N, seed=5)
    return [
        TrainLoader(labelled(np.arange(N) % 2), GROUPS, order, plan, World(rank, world), workers)
        for rank in range(world)
    ]


def global_ids(batches: list[GlobalBatch]) -> list[int]:
    """The sample ids in canonical order, from what each rank holds."""
    ids: list[int] = []
    for micros in zip(*(batch.micros for batch in batches), strict=True):
        for micro in micros:
            ids += micro.index[micro.valid].tolist()
    return ids


@pytest.mark.parametrize("order", [UniformOrder(N, 5), GroupBalancedOrder(GROUPS, 5, True)])
@pytest.mark.parametrize(
    ("world", "micro"), [(1, 12), (1, 4), (2, 6), (2, 3), (3, 4), (3, 1), (4, 3), (4, 1)]
)
def test_every_layout_sees_the_global_order(world: int, micro: int, order: Order) -> None:
    ranks = loaders(world, micro, size=12, order=order)
    for epoch in range(2):
        seen: list[int] = []
        for step in range(4):
            batches = [next(rank) for rank in ranks]
            assert {(b.epoch, b.step, b.num_samples) for b in batches} == {
                (epoch, step, 1 if step == 3 else 12)
            }
            assert len({len(b.micros) for b in batches}) == 1
            seen += global_ids(batches)
        assert seen == order.epoch(epoch).tolist()


def test_a_rank_without_samples_gets_one_filler_row_that_is_not_valid() -> None:
    ranks = loaders(4, 2)
    for _ in range(4):
        last = [next(rank) for rank in ranks]
    last = [next(rank) for rank in ranks]
    # 37 = 4 x 8 + 5: ranks hold 2, 2, 1 samples and none
    assert [batch.micros[0].valid.tolist() for batch in last] == [[True, True], [True, True], [True], [False]]
    assert [len(batch.micros) for batch in last] == [1, 1, 1, 1]
    assert len(last[3].micros[0].inputs) == len(last[3].micros[0].targets) == 1


def test_all_columns_belong_to_the_same_sample() -> None:
    batch = next(loaders(2, 2)[1]).micros[1]
    assert isinstance(batch.inputs, Tensor)
    assert batch.inputs[:, 0].tolist() == batch.index.tolist()
    assert batch.targets.tolist() == (batch.index % 2).tolist()
    assert batch.groups.tolist() == (batch.index % 3).tolist()
    assert batch.extra["sample_weight"].tolist() == (batch.index / 2).tolist()
    assert batch.targets.dtype == batch.groups.dtype == batch.index.dtype == torch.int64


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 4), st.sampled_from([1, 2, 3, 6]))
def test_a_position_is_enough_to_go_on_in_any_layout(consumed: int, world: int, micro: int) -> None:
    reference = loaders(1, 12, size=12)[0]
    for _ in range(consumed):
        next(reference)
    state = reference.state_dict()
    assert state == {"epoch": consumed // 4, "step": consumed % 4}
    ranks = loaders(world, micro, size=12) if 12 % (world * micro) == 0 else loaders(1, 4, size=12)
    for rank in ranks:
        rank.load_state_dict(state)
    for _ in range(6):
        assert global_ids([next(rank) for rank in ranks]) == global_ids([next(reference)])


def same(left: Batch, right: Batch) -> bool:
    assert isinstance(left.inputs, Tensor)
    assert isinstance(right.inputs, Tensor)
    pairs = [(left.inputs, right.inputs), (left.targets, right.targets), (left.groups, right.groups)]
    pairs += [(left.index, right.index), (left.valid, right.valid)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_background_workers_change_nothing_and_prefetched_batches_do_not_count() -> None:
    plain, background = loaders(2, 2)[1], loaders(2, 2, workers=2)[1]
    random_state = torch.get_rng_state()
    try:
        for count in range(1, 13):
            left, right = next(plain), next(background)
            assert (left.epoch, left.step, left.num_samples) == (right.epoch, right.step, right.num_samples)
            assert all(same(a, b) for a, b in zip(left.micros, right.micros, strict=True))
            assert background.state_dict() == plain.state_dict() == {"epoch": count // 5, "step": count % 5}
        background.load_state_dict({"epoch": 1, "step": 3})
        plain.load_state_dict({"epoch": 1, "step": 3})
        assert same(next(plain).micros[0], next(background).micros[0])
    finally:
        background.close()
    assert torch.equal(random_state, torch.get_rng_state())


class Watched(ArrayDataset):
    """Tells which process reads it, and fails or dies at one sample."""

    bad = -1
    death = -1
    bug = -1

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        if self.bad in positions:
            raise DataError("bad.png: cannot be decoded as an image: cut")
        if self.bug in positions:
            raise RuntimeError("a bug")
        if self.death in positions:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((len(positions), 1), float(os.getpid())), self.targets[positions]


def watched(**faults: int) -> TrainLoader:
    source = labelled([0] * N)
    dataset = Watched(source.inputs, source.targets, source.spec)
    for name, value in faults.items():
        setattr(dataset, name, value)
    return TrainLoader(dataset, GROUPS, UniformOrder(N, 0), BatchPlan.solve(4, None, 1), World(), workers=1)


def worker_pid(batch: GlobalBatch) -> int:
    inputs = batch.micros[0].inputs
    assert isinstance(inputs, Tensor)
    return int(inputs[0, 0])


def ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_one_worker_serves_all_epochs_ignores_signals_and_ends_on_close() -> None:
    loader = watched()
    pid = worker_pid(next(loader))
    assert pid != os.getpid()
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    for _ in range(25):
        assert worker_pid(next(loader)) == pid
    loader.close()
    assert ended(pid)


def test_a_broken_sample_in_a_worker_is_the_same_error_as_without_workers() -> None:
    loader = watched(bad=3)
    with pytest.raises(DataError) as caught:
        list(itertools.islice(loader, 10))
    assert str(caught.value) == "bad.png: cannot be decoded as an image: cut"


def test_a_worker_that_dies_ends_the_run_with_advice() -> None:
    loader = watched(death=3)
    with pytest.raises(DataError, match=r"a background process that loads data died: .* set data.workers=0"):
        list(itertools.islice(loader, 10))


def test_a_bug_in_a_dataset_is_not_called_a_dead_process() -> None:
    loader = watched(bug=3)
    with pytest.raises(RuntimeError, match=r"Caught RuntimeError in DataLoader worker"):
        list(itertools.islice(loader, 10))


def test_a_position_outside_the_epoch_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is batch 5 of an epoch, but an epoch has 5 batches now"):
        loaders(1, 8)[0].load_state_dict({"epoch": 0, "step": 5})


def test_the_overhead_of_a_small_batch_is_small() -> None:
    dataset = labelled(np.arange(1000) % 10, shape=(64,))
    plan = BatchPlan.solve(64, None, 1)
    loader = TrainLoader(dataset, np.arange(1000) % 10, UniformOrder(1000, 0), plan, World())
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            next(loader)
        rounds.append((time.perf_counter() - start) / 50)
    # the best round, as other processes may take the processor
    assert min(rounds) < 60e-6


def test_datasets_of_several_inputs() -> None:
    source = labelled([0, 1, 1, 0])
    assert isinstance(source.inputs, Tensor)
    both: dict[str, Tensor] = {"a": source.inputs, "b": source.inputs + 10}
    dataset: Dataset = ArrayDataset(both, source.targets, source.spec)
    plan = BatchPlan.solve(2, None, 1)
    batch = next(TrainLoader(dataset, np.zeros(4, np.int64), UniformOrder(4, 0), plan, World())).micros[0]
    assert isinstance(batch.inputs, dict)
    assert torch.equal(batch.inputs["b"], batch.inputs["a"] + 10)
    assert batch.inputs["a"][:, 0].tolist() == batch.index.tolist()


def test_a_process_that_never_closes_its_loader_still_ends() -> None:
    program = (
        "from tests.unit.data import test_train_loader as t\n"
        "loader = t.watched()\n"
        "print(t.worker_pid(next(loader)), flush=True)\n"
        "keep = [loader]; raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=200, text=True)
    assert done.returncode == 3, done.stderr
    assert ended(int(done.stdout))
