"""Universal checkpoints of DeepSpeed, written and read without it, and what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework.__main__ import main
from framework.checkpoint.checkpoint import open_checkpoint
from framework.checkpoint.deepspeed.content import Content
from framework.checkpoint.deepspeed.fitting import fit_moments, fit_weights
from framework.checkpoint.deepspeed.write import export_deepspeed
from framework.errors import CheckpointError
from framework.parallel.world import World
from tests.equivalence.portable_cases import walk
from tests.equivalence.test_zero import apart
from tests.equivalence.zero_cases import COMMON
from tests.tiny import write

ADAMW = ["optimizer={name: adamw, lr: 0.01}", "train.weight_decay_on=matrices"]
EMA = ["train.ema={decay: 0.9}"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after three steps, and its export."""
    folder = tmp_path_factory.mktemp("ours")
    path = walk([*ADAMW, *EMA], None, 3, "single", folder / "checkpoints", World())
    export_deepspeed(folder, folder / "out", str(path))
    return folder


@pytest.fixture
def exported(ours: Path, tmp_path: Path) -> Path:
    shutil.copytree(ours / "out", tmp_path / "out")
    return tmp_path / "out"


def words(folder: Path, source: Path, *more: str) -> list[str]:
    return ["import", str(source), f"conf={write(folder)}", *COMMON, "--out", f"{folder}/in", *more]


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_there_and_back(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, ours / "out", *ADAMW, *EMA, "--step", "3")) == 0
    path = tmp_path / "in" / "step-00000003"
    assert capsys.readouterr().out == (
        f"{path}: 4 of 4 tensors and the moments of 4 parameters from universal, after 3 steps there\n"
    )
    here, there = (open_checkpoint(p) for p in (path, ours / "checkpoints" / "step-00000003"))
    differing = {name for name, by in apart(here.path, there.path).items() if by}
    # The average begins anew, at the weights.
    assert differing
    assert all(name.startswith("/ema/") for name in differing)
    assert here.parts["data"] == there.parts["data"]
    assert here.parts["progress"] == there.parts["progress"]
    assert here.meta["data"] == there.meta["data"]


def test_names_are_exchanged_or_listed_all_at_once(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero = exported / "global_step3_universal" / "zero"
    for folder in [path for path in zero.iterdir() if path.is_dir()]:
        folder.rename(folder.with_name(f"module.{folder.name}"))
    text = refused(capsys, words(tmp_path, exported, *ADAMW))
    assert text.count("the model has no such parameter; did you mean") == 4
    assert text.count("is not in the folder; did you mean") == 4
    assert "they fit with --rename module.:" in text
    assert not (tmp_path / "in").exists()
    assert main(words(tmp_path, exported, *ADAMW, "--rename", "module.:")) == 0
    engine = open_checkpoint(tmp_path / "in" / "step-00000000").parts["engine"]
    assert float(engine["optimizer"]["state"]["1.weight"]["step"]) == 3
    capsys.readouterr()
    assert "holds checkpoints already" in refused(capsys, words(tmp_path, exported, *ADAMW))


def test_partial_takes_what_is_alike(
    exported: Path, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero = exported / "global_step3_universal" / "zero"
    (zero / "1.bias").rename(zero / "strange")
    assert main(words(tmp_path, exported, *ADAMW, "--names", "partial", "--moments", "drop")) == 0
    assert "3 of 4 tensors and the moments of 0 parameters" in capsys.readouterr().out
    engine = open_checkpoint(tmp_path / "in" / "step-00000000").parts["engine"]
    there = open_checkpoint(ours / "checkpoints" / "step-00000003").parts["engine"]
    assert engine["optimizer"]["state"] == {}
    equal = {name for name, value in engine["model"].items() if torch.equal(value, there["model"][name])}
    assert equal == {"1.weight", "3.weight", "3.bias"}


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported / "global_step3_universal" / "zero" / "1.bias" / "exp_avg.pt"
    torch.save({"param": torch.zeros(16), "more": Hostile(tmp_path / "ran")}, path)
    text = refused(capsys, words(tmp_path, exported, *ADAMW))
    assert "1.bias/exp_avg.pt is refused" in text
    assert "posix.mkdir" in text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([*ADAMW, "model.hidden=[8]"], "1.weight: has shape (16, 64) there, (8, 64) in the model"),
        (
            ["optimizer=sgd"],
            "exp_avg, exp_avg_sq, step for 1.weight, and optimizer sgd keeps momentum_buffer:",
        ),
        ([*ADAMW, "--tag", "global_step3_univeral"], "did you mean global_step3_universal?"),
        (
            [*ADAMW, "--names", "partly"],
            "--names must be all or partial, not 'partly'; did you mean partial?",
        ),
        ([*ADAMW, "--rename", "a:b:c"], "--rename takes OLD:NEW"),
        ([*ADAMW, "--rename", "1.:a,1.:b"], "--rename gives one beginning twice"),
        ([*ADAMW, "--rename", "modle.:,1.:2."], "--rename modle.:: no name there begins with it"),
        ([*ADAMW, "--step", "x"], "--step must be a number of steps"),
        ([*ADAMW, "--step", "13"], "--step 13 is beyond the run's end: it has 12 steps"),
    ],
)
def test_what_does_not_fit_is_refused(
    ours: Path, options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(capsys, words(tmp_path, ours / "out", *options))


def test_moments_of_some_parameters_alone_are_told(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero = exported / "global_step3_universal" / "zero"
    for key in ("exp_avg", "exp_avg_sq", "step"):
        (zero / "1.bias" / f"{key}.pt").unlink()
    assert "1.bias: has no moments in the folder" in refused(capsys, words(tmp_path, exported, *ADAMW))
    assert main(words(tmp_path, exported, *ADAMW, "--names", "partial")) == 0
    assert "4 of 4 tensors and the moments of 3 parameters" in capsys.readouterr().out


def test_damage_is_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported / "global_step3_universal"
    path = folder / "zero" / "3.weight" / "fp32.pt"
    path.write_bytes(path.read_bytes()[:200])
    assert "3.weight/fp32.pt cannot be read as a file of torch.save" in refused(
        capsys, words(tmp_path, exported, *ADAMW)
    )
    (folder / "zero" / "optimizer_state.pt").unlink()
    assert "optimizer_state.pt is missing" in refused(capsys, words(tmp_path, folder, *ADAMW))
    shutil.rmtree(folder)
    assert "has no checkpoint global_step3_universal" in refused(capsys, words(tmp_path, exported, *ADAMW))
    assert "there is no such folder" in refused(capsys, words(tmp_path, folder, *ADAMW))


def test_exports_that_zero_could_not_go_on_from_are_refused(
    ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sgd = walk(["optimizer=sgd"], None, 1, "single", tmp_path / "checkpoints", World())
    for name in ("config.yaml", "status.json"):
        (tmp_path / name).touch()
    export = ["export", str(tmp_path), "--checkpoint", str(sgd), "--deepspeed", str(tmp_path / "out")]
    assert "has no moments with a step count" in refused(capsys, export)
    assert list((tmp_path / "out").iterdir()) == []
    assert "--optimizer must be torch or deepspeed" in refused(capsys, [*export, "--optimizer", "jax"])
    assert "--out names a file of weights" in refused(capsys, [*export, "--out", "x"])
    export[3] = str(ours / "checkpoints" / "step-00000003")
    assert main([*export, "--optimizer", "deepspeed"]) == 0
    folder = tmp_path / "out" / "global_step3_universal"
    assert torch.load(folder / "zero" / "3.bias" / "step.pt", weights_only=True) == 3
    capsys.readouterr()
    assert "is there already" in refused(capsys, export)


def test_a_tied_parameter_may_go_by_its_other_name() -> None:
    model = nn.Module()
    model.first, model.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model.second.weight = model.first.weight
    weights, moment = torch.rand(3, 3), torch.rand(9)
    content = Content("", 1, {"second.weight": weights}, {"second.weight": {"step": 2, "exp_avg": moment}})
    own = model.state_dict()
    fitted = fit_weights(content, own, partial=False)
    assert all(torch.equal(fitted[name], weights) for name in ("first.weight", "second.weight"))
    kept = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2, 3)}
    state = fit_moments(content, own, ["first.weight"], kept, "adam", partial=False)
    assert torch.equal(state["first.weight"]["exp_avg"], moment.view(3, 3))
    assert torch.equal(state["first.weight"]["step"], torch.tensor(2.0))
    half = Content("", 1, {"first.weight": weights, "second.weight": weights.bfloat16()}, {})
    assert all(torch.equal(value, weights) for value in fit_weights(half, own, partial=False).values())
    untied = Content("", 1, {"first.weight": weights, "second.weight": weights + 1}, {})
    with pytest.raises(CheckpointError, match=r"second.weight: is one parameter .* not equal"):
        fit_weights(untied, own, partial=False)
