"""What a run file and a command line come to: values, types, origins, and the way back from a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework.config.load import LoadedConfig, load, load_saved, save
from framework.config.schema import RunConfig
from framework.errors import ConfigError, Problem

RUN = """\
defaults:
  - base
  - data: digits_longtail
  - model: mlp
  - task: classification
  - policy: rgd
  - optimizer: adamw
  - schedule: cosine
  - engine: auto
  - _self_
name: trial
policy: {clip: 3}
train:
  epochs: 7
"""


@pytest.fixture(autouse=True)
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path / "run.yaml"


def options(loaded: LoadedConfig, section: str) -> dict[str, object]:
    return dict(loaded.data[section])


def test_the_run_file_wins_over_its_groups_and_the_command_line_over_both() -> None:
    loaded = load("run.yaml")
    assert loaded.config.policy.options()["clip"] == 3.0
    assert loaded.provenance["policy.clip"] == "run.yaml:12"
    overridden = load("run.yaml", ["policy.clip=4"])
    assert overridden.config.policy.options()["clip"] == 4.0
    assert overridden.provenance["policy.clip"] == "command line"


def test_every_value_has_an_origin() -> None:
    loaded = load("run.yaml", ["optimizer.lr=1e-3"])
    assert loaded.provenance["name"] == "run.yaml:11"
    assert loaded.provenance["train.epochs"] == "run.yaml:14"
    assert loaded.provenance["policy.name"].endswith("conf/policy/rgd.yaml:2")
    assert loaded.provenance["data.transforms.0.factor"].endswith("conf/data/digits_longtail.yaml:4")
    assert loaded.provenance["evaluate.batch_size"] == "default"
    assert loaded.provenance["optimizer.lr"] == "command line"
    assert loaded.origin("data.transforms").endswith("conf/data/digits_longtail.yaml:4")


def test_a_group_chosen_on_the_command_line_leaves_nothing_of_the_old_one() -> None:
    loaded = load("run.yaml", ["policy=group_dro", "policy.step_size=0.5"])
    assert loaded.config.policy.name == "group_dro"
    assert "clip" not in options(loaded, "policy")
    assert loaded.provenance["policy.step_size"] == "command line"
    again = load("run.yaml", ["policy=rgd"])
    assert options(again, "policy")["clip"] == 1.0, "the whole section is the group's, not the run file's"


def test_a_group_can_be_chosen_for_a_file_without_defaults() -> None:
    save(load("run.yaml"), Path("done"))
    loaded = load("done/config.yaml", ["policy=group_dro"])
    assert loaded.config.policy.name == "group_dro"
    assert "clip" not in options(loaded, "policy")


def test_a_group_at_the_top_level_replaces_its_lists() -> None:
    assert [reporter.name for reporter in load("run.yaml").config.reporters] == ["console"]
    assert load("run.yaml", ["reporting=quiet"]).config.reporters == []


def test_keys_that_no_file_mentions_can_be_set() -> None:
    loaded = load("run.yaml", ["train.ema.decay=0.5", "data.splits={test: 0.1}", "+data.workers=2"])
    assert loaded.config.train.ema is not None
    assert loaded.config.train.ema.decay == 0.5
    assert loaded.config.data.splits.test == 0.1
    assert loaded.config.data.splits.validation == 0.15
    assert loaded.config.data.workers == 2


def test_list_items_can_be_set_and_deleted() -> None:
    loaded = load("run.yaml", ["data.transforms.0.factor=5"])
    assert loaded.data["data"]["transforms"][0]["factor"] == 5.0
    assert loaded.provenance["data.transforms.0.factor"] == "command line"
    assert loaded.provenance["data.transforms.0.name"].endswith(":4")
    assert load("run.yaml", ["~data.transforms.0"]).config.data.transforms == []
    assert load("run.yaml", ["~data.transforms"]).config.data.transforms == []


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("1", 1.0), ("1E3", 1000.0), ("0.5", 0.5)])
def test_numbers(text: str, value: float, run_file: Path) -> None:
    run_file.write_text(f"{RUN}optimizer: {{lr: {text}}}\n")
    from_file = options(load("run.yaml"), "optimizer")["lr"]
    from_words = options(load("run.yaml", [f"optimizer.lr={text}"]), "optimizer")["lr"]
    assert from_file == from_words == value
    assert isinstance(from_file, float)
    assert isinstance(from_words, float)


def test_interpolations_are_resolved(run_file: Path) -> None:
    run_file.write_text(f"{RUN}seed: 3\nresume: runs/${{name}}-${{seed}}\n")
    assert load("run.yaml", ["seed=4"]).config.resume == "runs/trial-4"


def test_a_broken_interpolation_can_be_overridden(run_file: Path) -> None:
    run_file.write_text(f"{RUN}resume: ${{nowhere}}\n")
    assert load("run.yaml", ["resume=never"]).config.resume == "never"


def test_the_nearest_folder_wins(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "policy"
    folder.mkdir(parents=True)
    (folder / "rgd.yaml").write_text("name: rgd\nclip: 9\n")
    loaded = load("run.yaml", ["policy=rgd"])
    assert options(loaded, "policy")["clip"] == 9.0
    assert loaded.provenance["policy.clip"] == "conf/policy/rgd.yaml:2"
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "rgd.yaml").write_text("name: rgd\nclip: 8\n")
    assert options(load("run.yaml", ["policy=rgd"]), "policy")["clip"] == 8.0


@pytest.mark.parametrize("conf", ["trial", "trial.yaml", "conf/trial.yaml", "paper/trial"])
def test_a_run_file_is_found_by_path_or_name(conf: str, tmp_path: Path) -> None:
    (tmp_path / "conf" / "paper").mkdir(parents=True)
    (tmp_path / "conf" / "trial.yaml").write_text(RUN)
    (tmp_path / "conf" / "paper" / "trial.yaml").write_text(RUN)
    assert load(conf).config.name == "trial"


def test_a_shipped_run_file_is_found_anywhere() -> None:
    assert load("vit_rgd").config.name == "vit_rgd"


def test_folders_with_strange_names(tmp_path: Path) -> None:
    folder = tmp_path / "a b, [c]='d' é"
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "own.yaml").write_text("name: rgd\nclip: 6\n")
    (folder / "my run.yaml").write_text(RUN)
    loaded = load(str(folder / "my run.yaml"), ["policy=own"])
    assert options(loaded, "policy")["clip"] == 6.0


def test_a_saved_configuration_loads_again_to_the_same(tmp_path: Path) -> None:
    loaded = load("run.yaml", ["train.clip_norm=1", "name=quick-1e3"])
    save(loaded, tmp_path / "runs" / "one")
    again = load_saved(tmp_path / "runs" / "one")
    assert again.data == loaded.data
    assert again.config == loaded.config
    assert again.provenance == loaded.provenance
    assert load("runs/one/config.yaml", ["seed=5"]).config.seed == 5
    assert json.loads((tmp_path / "runs/one/config.provenance.json").read_text()) == loaded.provenance


def test_a_damaged_provenance_is_an_error(tmp_path: Path) -> None:
    save(load("run.yaml"), tmp_path / "one")
    (tmp_path / "one" / "config.provenance.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        load_saved("one")


def test_the_configuration_is_frozen() -> None:
    config = load("run.yaml").config
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_the_error_knows_its_file_and_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load("run.yaml", ["sede=1", "train.epochs=0"])
    assert caught.value.source == "run.yaml"
    assert [problem.path for problem in caught.value.problems] == ["train.epochs", "sede"]


def test_an_error_found_later_gets_its_places() -> None:
    loaded = load("run.yaml")
    later = loaded.located(ConfigError("nothing fits"))
    assert later.source == "run.yaml"
    problem = loaded.located(ConfigError([Problem("train.epochs", "too many")])).problems[0]
    assert (problem.path, problem.where) == ("train.epochs", "run.yaml:14")


def test_two_configurations_in_one_process() -> None:
    first, second = load("run.yaml"), load("vit_rgd", ["policy=erm"])
    assert first.config.policy.name == "rgd"
    assert second.config.policy.name == "erm"
    assert isinstance(second.config, RunConfig)
