"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from framework.__main__ import main
from framework.cli.verbs import VERBS
from framework.config.load import load, save

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from framework.__main__ import main; code = main(['--help']);"
        "heavy = {'torch', 'hydra', 'pydantic', 'numpy', 'rich'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


def test_a_config_error_does_not_wait_for_the_training_machinery() -> None:
    program = (
        "import sys; from framework.__main__ import main; code = main(['train', 'conf=nowhere']);"
        "sys.exit('imported torch' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "no configuration 'nowhere'" in done.stderr


def test_only_what_a_configuration_needs_is_imported() -> None:
    """No other engine, model, source or tracker, and no scikit-learn for the digits it brings along."""
    program = (
        "import sys; from framework.__main__ import main;"
        "words = ['conf=digits_spurious', 'engine=single', 'reporting=console'];"
        "code = main(['compare', *words, 'policy=erm,rgd', 'dry=true']) or main(['check', *words]);"
        "others = {'accelerate', 'datasets', 'deepspeed', 'mlflow', 'optuna', 'pandas', 'plotly', 'pyarrow',"
        " 'scipy', 'sklearn', 'tensorboard', 'transformers', 'wandb'};"
        "sys.exit(f'imported {heavy}' if (heavy := others & set(sys.modules)) else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, flag: str, run: Run) -> None:
    code, out, err = run(verb, flag)
    assert (code, err) == (0, "")
    assert out.startswith("usage: python -m framework ")
    assert verb in out


def test_no_words_print_the_help(run: Run) -> None:
    assert run() == run("--help") == run("-h")


def test_version(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("framework ")


def test_the_default_verb_trains(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("framework.run.train", lambda loaded: seen.append(loaded) or 75)
    assert run("conf=vit_rgd", "seed=3")[0] == 75
    assert run("train", "seed=4", "conf=vit_rgd")[0] == 75
    assert run("~policy.clip", "conf=vit_rgd")[0] == 75
    assert [loaded.config.seed for loaded in seen] == [3, 4, 0]


def test_what_is_no_fault_of_the_user_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loaded: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr("framework.run.train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run("conf=vit_rgd")


def test_an_interrupt_is_not_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(loaded: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("framework.run.train", interrupt)
    assert run("conf=vit_rgd") == (130, "", "")


def test_a_reader_that_leaves_is_not_an_error() -> None:
    command = f"{sys.executable} -m framework schema | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_show_prints_yaml_with_origins(run: Run) -> None:
    code, out, _ = run("show", "conf=vit_rgd", "optimizer.lr=0.5")
    assert code == 0
    assert yaml.safe_load(out) == load("vit_rgd", ["optimizer.lr=0.5"]).data
    lines = {line.split(":")[0].strip(): line for line in out.splitlines()}
    assert lines["lr"].endswith("# command line")
    assert lines["batch_size"].endswith("# default")
    assert "conf/vit_rgd.yaml:" in out.splitlines()[0]


def test_show_prints_one_section(run: Run) -> None:
    code, out, _ = run("show", "conf=vit_rgd", "data.source")
    assert code == 0
    assert yaml.safe_load(out)["data"]["source"]["name"] == "digits"
    assert "policy" not in out
    code, _, err = run("show", "conf=vit_rgd", "polcy")
    assert code == 2
    assert "did you mean policy?" in err


def test_what_show_prints_can_be_loaded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "again.yaml").write_text(run("show", "conf=vit_rgd")[1])
    assert run("diff", "vit_rgd", "again.yaml")[:2] == (0, "no difference\n")


def test_diff_of_files_and_runs(run: Run, tmp_path: Path) -> None:
    save(load("vit_rgd", ["seed=7"]), tmp_path / "runs" / "one")
    assert run("diff", "vit_rgd", "vit_rgd.yaml")[0] == 0
    code, out, _ = run("diff", "vit_rgd", "runs/one")
    assert code == 1
    (row,) = [line for line in out.splitlines() if line.lstrip().startswith("seed")]
    assert row.split()[1] == "0"
    assert row.split()[-3:] == ["7", "command", "line"]
    code, out, _ = run("diff", "vit_rgd", "policy=erm", "vit_rgd", "policy.clip=2")
    assert code == 1
    assert "policy.clip" in out
    assert "seed" not in out


def test_list(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "group_dro" in out
    assert "long_tail" in out
    code, out, _ = run("list", "policy")
    assert "group_dro" in out
    assert "long_tail" not in out
    code, out, _ = run("list", "dataset", "mixture")  # holds datasets, and so perhaps itself
    assert code == 0
    assert "sources: section (required)" in out
    code, out, _ = run("list", "transform", "long_tail")
    assert code == 0
    assert "factor: number" in out


def test_list_with_a_plugin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "listed.py").write_text(
        "from framework.registry import register\n\n\n"
        "@register.callback('of_a_plugin')\nclass Listed:\n    '''Does nothing, visibly.'''\n"
    )
    from tests.registrations import rolled_back

    assert "of_a_plugin" not in run("list", "callback")[1]
    with rolled_back(tmp_path):
        assert "Does nothing, visibly." in run("list", "callback", "plugins=[listed]")[1]


def test_schema(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("schema")
    assert code == 0
    schema = json.loads(out)
    assert {"defaults", "policy", "data"} <= set(schema["properties"])
    assert run("schema", "--out", "run.schema.json") == (0, "run.schema.json\n", "")
    assert json.loads((tmp_path / "run.schema.json").read_text()) == schema


def test_check_describes_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "defaults: [base, {data: digits}, {model: linear}, {task: classification}, {policy: erm},"
        " {optimizer: sgd}, {schedule: constant}, {engine: single}, _self_]\n"
    )
    code, out, err = run("check", "conf=run.yaml")
    assert code == 0, err
    assert out.splitlines()[-1] == "ok"
    assert "linear" in out
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_check_places_what_the_assembly_finds(run: Run) -> None:
    code, _, err = run("check", "conf=vit_rgd", "select.metric=worst_group_acuracy")
    assert code == 2
    assert "select.metric" in err
    assert "(command line)" in err


def test_export_names_the_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def export(run_dir: Path, out: Path | None, which: str) -> Path:
        seen.append((run_dir, out, which))
        return Path("weights.safetensors")

    monkeypatch.setattr("framework.checkpoint.export.export", export)
    (tmp_path / "done").mkdir()
    assert run("export", "done") == (2, "", "error: done is not a run folder\n")
    for file in ("config.yaml", "status.json"):
        (tmp_path / "done" / file).touch()
    assert run("export", "done") == (0, "weights.safetensors\n", "")
    assert run("export", "done", "--out=w", "--checkpoint", "latest")[0] == 0
    assert seen == [(Path("done"), None, "best"), (Path("done"), Path("w"), "latest")]
