from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from framework.checkpoint.checkpoint import Checkpoint
from framework.checkpoint.export import export
from framework.checkpoint.restore import restore
from framework.checkpoint.resume import load_from, resume_point
from framework.checkpoint.saver import Order, Saver
from framework.checkpoint.snapshot import snapshot
from framework.checkpoint.store import CheckpointStore
from framework.errors import CheckpointError, PluginError
from framework.parallel.world import World
from framework.run_folder import RunFolder, Status


class Part:
    def __init__(self, state: dict) -> None:
        self.state = state

    def state_dict(self) -> dict:
        return self.state

    def load_state_dict(self, state: dict) -> None:
        if state.keys() != self.state.keys():
            raise CheckpointError(f"has {sorted(state)}")
        self.state = state


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "run" / "checkpoints")


def save(store: CheckpointStore, *steps: int, keep_last: int = 100, keep: set[int] = frozenset()) -> None:
    for step in steps:
        parts = {"engine": {"model": {"w": torch.tensor([float(step)])}}, "policy": {"q": [0.1]}}
        store.save(step, parts, {"config": {"name": "digits", "seed": step}}, keep_last, keep)


def names(store: CheckpointStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def test_what_lies_on_the_disk(store):
    save(store, 120)
    assert names(store) == {"latest", "step-00000120"}
    assert {path.name for path in (store.folder / "step-00000120").iterdir()} == {
        "engine.json",
        "engine.safetensors",
        "manifest.json",
        "meta.json",
        "policy.json",
    }
    assert load_file(store.folder / "step-00000120" / "engine.safetensors")["model/w"].tolist() == [120]
    assert (store.folder / "latest").read_text() == "step-00000120\n"


def test_a_checkpoint_gives_its_parts_and_meta(store):
    path = store.save(3, {"policy": {"q": torch.arange(3), "pi": [0.1, float("inf")]}}, {"epoch": 1}, 1)
    checkpoint = store.load()
    assert (checkpoint.path, checkpoint.step, checkpoint.meta) == (path, 3, {"epoch": 1})
    assert list(checkpoint.parts) == ["policy"]
    assert checkpoint.parts["policy"]["q"].tolist() == [0, 1, 2]
    assert checkpoint.parts["policy"]["pi"] == [0.1, float("inf")]
    with pytest.raises(KeyError):
        checkpoint.parts["model"]


def test_parts_outlive_their_files(store):
    save(store, 1)
    policy = store.load().parts["engine"]
    save(store, 2, keep_last=1)
    assert store.steps() == [2]
    assert policy["model"]["w"].tolist() == [1]


@pytest.mark.parametrize(
    ("keep_last", "keep", "best", "left"),
    [
        (1, set(), None, [50]),
        (2, set(), None, [40, 50]),
        (9, set(), None, [10, 20, 30, 40, 50]),
        (1, {20, 77}, None, [20, 50]),
        (2, {40}, 10, [10, 40, 50]),
    ],
)
def test_pruning(store, keep_last, keep, best, left):
    save(store, 10, 20, 30, 40)
    if best is not None:
        store.mark_best(best)
    save(store, 50, keep_last=keep_last, keep=keep)
    assert store.steps() == left
    assert store.load().step == 50


def test_steps_of_a_course_that_was_given_up_do_not_crowd_out_the_new_one(store):
    save(store, 10, 20, 30)
    save(store, 15, keep_last=2)
    assert store.steps() == [10, 15]
    assert store.load().step == 15


def test_a_good_checkpoint_with_the_same_content_is_left_alone(store):
    save(store, 10)
    inode = (store.folder / "step-00000010").stat().st_ino
    save(store, 10)
    assert (store.folder / "step-00000010").stat().st_ino == inode
    assert names(store) == {"latest", "step-00000010"}


@pytest.mark.parametrize("damage", [False, True])
def test_another_or_a_damaged_one_of_the_same_step_is_replaced(store, damage):
    save(store, 10)
    if damage:
        (store.folder / "step-00000010" / "policy.json").write_text("{}")
        save(store, 10)
    else:
        store.save(10, {"policy": {"q": 2}}, {}, 1)
    assert names(store) == {"latest", "step-00000010"}
    assert store.load().parts["policy"] == ({"q": [0.1]} if damage else {"q": 2})


def test_marks_and_steps_that_are_not_there(store):
    assert store.newest() is None
    assert store.steps() == []
    for which in ("latest", "best", 7):
        with pytest.raises(CheckpointError, match="has no checkpoint"):
            store.load(which)
    save(store, 10)
    assert store.newest() == store.folder / "step-00000010"
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 \(there: 10\)"):
        store.load(7)
    with pytest.raises(CheckpointError, match="no checkpoint of step 7 to mark"):
        store.mark_best(7)
    with pytest.raises(CheckpointError, match="marked as best"):
        store.load("best")


def test_a_snapshot_may_be_written_while_training_goes_on(store):
    weight = torch.zeros(4)
    parts = snapshot({"model": {"w": weight}})
    weight += 1
    saver = Saver(store, World(), timeout_seconds=10)
    saver.start(Order(5, parts, {}, keep_last=1, best=None))
    saver.wait()
    assert saver.collect() == store.newest()
    assert store.load().parts["model"]["w"].tolist() == [0, 0, 0, 0]


def test_a_state_that_cannot_be_kept_names_its_part(store):
    with pytest.raises(PluginError, match="part policy: state at q/1 is a set"):
        store.save(1, {"policy": {"q": [1, {2}]}}, {}, 1)
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["meta", "manifest", "../up", "Model", ""])
def test_part_names_that_would_not_be_files_of_their_own(store, name):
    with pytest.raises(AssertionError):
        store.save(1, {name: {}}, {}, 1)


def loaded(store: CheckpointStore, **states: dict) -> Checkpoint:
    store.save(1, states, {}, 1)
    return store.load()


def test_restoring_gives_every_part_its_state(store):
    checkpoint = loaded(store, policy={"q": 1}, rng={"a": 2})
    policy, rng = Part({"q": 0}), Part({"a": 0})
    restore(checkpoint, {"policy": policy, "rng": rng})
    assert (policy.state, rng.state) == ({"q": 1}, {"a": 2})


def test_missing_and_unknown_parts_are_reported_together_and_nothing_is_loaded(store):
    checkpoint = loaded(store, policy={"q": 1}, old={}, older={})
    policy = Part({"q": 0})
    with pytest.raises(CheckpointError) as caught:
        restore(checkpoint, {"policy": policy, "rng": Part({}), "data": Part({})})
    assert str(caught.value).splitlines()[1:] == [
        "  data: is not in the checkpoint",
        "  rng: is not in the checkpoint",
        "  old: is in the checkpoint, but this run has no such part",
        "  older: is in the checkpoint, but this run has no such part",
    ]
    assert policy.state == {"q": 0}


def test_states_that_do_not_fit_are_reported_together(store):
    checkpoint = loaded(store, policy={"q": 1}, rng={"a": 2})
    with pytest.raises(CheckpointError, match=r"(?s)step-00000001 does not fit.*policy: has .*rng: has"):
        restore(checkpoint, {"policy": Part({"x": 0}), "rng": Part({"y": 0})})


def test_a_checkpoint_is_found_from_its_run_its_folder_and_itself(store):
    save(store, 10, 20)
    run = store.folder.parent
    assert load_from(run).step == load_from(store.folder).step == 20
    assert load_from(store.folder / "step-00000010").step == 10
    (store.folder / "step-00000010" / "policy.json").unlink()
    with pytest.raises(CheckpointError, match=r"step-00000010 is damaged: policy\.json is missing"):
        load_from(store.folder / "step-00000010")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        load_from(run.parent)


def test_a_continued_run_goes_on_from_its_own_checkpoint_and_before_it_has_one_from_its_source(tmp_path):
    source = CheckpointStore(tmp_path / "source" / "checkpoints")
    save(source, 10)
    config = {"resume": str(tmp_path / "source")}

    def open_run() -> RunFolder:
        return RunFolder.open("x", config, dir=str(tmp_path / "run"), resume=config["resume"])

    with open_run() as folder:
        (folder.path / "config.yaml").write_text(f"resume: {config['resume']}\n")
        Status("running").write(folder.path)
        assert resume_point(folder).step == 10
    with open_run() as folder:
        assert resume_point(folder).step == 10
        save(CheckpointStore(folder.checkpoints), 12)
    with open_run() as folder:
        assert resume_point(folder).step == 12
    with RunFolder.open("x", {}, dir=str(tmp_path / "fresh")) as folder:
        assert resume_point(folder) is None


def weights(path: Path) -> tuple[dict[str, list[float]], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).tolist() for key in file.keys()}, file.metadata()  # noqa: SIM118


def test_export_takes_the_best_and_without_one_the_latest(store, tmp_path):
    save(store, 10, 20, 30)
    run = store.folder.parent
    path = export(run)
    assert path == run / "model.safetensors"
    assert weights(path) == (
        {"w": [30]},
        {"format": "pt", "name": "digits", "step": "30", "config": '{"name": "digits", "seed": 30}'},
    )
    store.mark_best(20)
    assert weights(export(run))[0] == {"w": [20]}
    assert weights(export(run, which="latest"))[0] == {"w": [30]}
    assert weights(export(run, which="10"))[0] == {"w": [10]}
    out = tmp_path / "deep" / "out.safetensors"
    assert export(run, out, str(store.folder / "step-00000010")) == out
    assert weights(out)[0] == {"w": [10]}


def test_export_takes_the_average_of_tied_parameters_too_and_the_buffers_of_the_model(store):
    embedding, buffer = torch.zeros(2), torch.tensor([7.0])
    engine = {
        "model": {"embedding": embedding, "head": embedding, "mean": buffer},
        "ema": {"embedding": torch.ones(2)},
    }
    store.save(1, {"engine": engine}, {}, 1)
    assert weights(export(store.folder.parent))[0] == {"embedding": [1, 1], "head": [1, 1], "mean": [7]}


def test_export_says_what_is_wrong(store, tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        export(tmp_path)
    save(store, 10)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written: (File exists|Not a directory)"):
        export(store.folder.parent, tmp_path / "file" / "x.safetensors")
