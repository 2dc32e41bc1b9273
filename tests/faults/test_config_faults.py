"""Broken run files, group files, plugins and command lines: each ends in one message and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.__main__ import main
from framework.config.load import load
from framework.errors import ConfigError
from tests.faults.config_cases import CASES, DEFAULTS, Case


def _write(case: Case, folder: Path) -> None:
    (folder / "run.yaml").write_bytes(
        f"{DEFAULTS}{case.text}\n".encode() if case.whole is None else case.whole
    )
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_message(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    code = main(["show", "conf=run.yaml", *case.overrides])
    shown = capsys.readouterr()
    assert code == 2, shown.out
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert "full_key" not in shown.err
    missing = [fragment for fragment in case.says if fragment not in shown.err]
    assert not missing, f"{missing} not in:\n{shown.err}"


DAMAGE = r"${ } { [ ] : - &a *a ??? null <<:*a ? @ ' é | > # ! %"
WORDS = """
policy=erm ~policy +policy=erm policy=null policy.name.x=3 policy={name:erm} ++policy=3 ~data.transforms
data.transforms.0=3 data=3 data.groups.x=a ~data.groups.0 data/source=x seed= seed=${name} name=${data}
seed.0=1 a.=1 .a=1 a..b=1 ~ + plugins=[[]] model=[mlp,linear] reporting=quiet ~reporting hydra.run.dir=x
"""


@settings(max_examples=40, deadline=None)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from([*DAMAGE.split(), "\n", "\t", "  ", ": ", "- "])),
        max_size=2,
    ),
    words=st.sets(st.sampled_from(WORDS.split()), max_size=2),
)
def test_whatever_the_damage_there_is_no_traceback(
    damage: list[tuple[int, str]], words: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = (
        f"{DEFAULTS}seed: 1\ndata: {{transforms: [{{name: long_tail}}], groups: [label]}}\nname: a${{seed}}\n"
    )
    for position, token in damage:
        text = text[: position % len(text)] + token + text[position % len(text) :]
    file = tmp_path_factory.mktemp("damage") / "run.yaml"
    file.write_text(text, encoding="utf-8")
    # Whatever else is raised fails the test.
    with suppress(ConfigError):
        load(str(file), sorted(words))


def test_the_good_file_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(Case("good", ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["show", "conf=run.yaml"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "conf=runn.yaml"], "no configuration 'runn.yaml'; did you mean"),
        (["show", "conf=folder"], "folder is a folder without config.yaml"),
        (["show", "conf=run.json"], "must end in .yaml"),
        (["show", "conf="], "no configuration ''"),
        (["show"], "conf=FILE is missing"),
        (["show", "conf=a", "conf=b"], "two configurations"),
        (["chekc", "conf=run.yaml"], "did you mean check?"),
        (["run.yaml"], "write conf=run.yaml"),
        (["--hepl"], "did you mean --help?"),
        (["show", "conf=run.yaml", "--ou", "x"], "unknown option --ou"),
        (["export"], "usage: python -m framework export RUN"),
        (["export", "folder", "--out"], "--out needs a value"),
        (["export", "nowhere"], "nowhere is not a run folder"),
        (["export", "folder", "seed=1"], "no overrides"),
        (["train", "3", "conf=run.yaml"], "usage: python -m framework train"),
        (["diff", "run.yaml"], "usage: python -m framework diff A B"),
        (["diff", "seed=1", "run.yaml", "run.yaml"], "'seed=1' stands before"),
        (["list", "polcy"], "unknown kind 'polcy'; did you mean policy?"),
        (["list", "policy", "rdg"], "unknown policy 'rdg'; did you mean rgd?"),
        (["list", "seed=1"], "only plugins=[a,b]"),
        (["list", "plugins=[nope]"], "plugin 'nope'"),
        (["schema", "--out", "nowhere/schema.json"], "cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_line_message(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write(Case("good", ()), tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "run.yaml").write_text("seed: 1\n")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert says in shown.err
    assert shown.err.count("\n") == 1, "one message"


@pytest.mark.parametrize("size", ["0", "two", "-1"])
def test_world_size_must_be_a_number(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(Case("good", ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", size)
    assert main(["show", "conf=run.yaml"]) == 2
    assert "WORLD_SIZE" in capsys.readouterr().err


def test_half_of_a_launcher_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(Case("good", ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["show", "conf=run.yaml"]) == 2
    assert "WORLD_SIZE is set and RANK is not" in capsys.readouterr().err


def test_batch_must_divide_over_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(Case("three processes", ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["show", "conf=run.yaml"]) == 2
    assert "64 samples do not divide over 3 ranks; try 63 or 66" in capsys.readouterr().err


def test_a_process_ends_with_the_message_alone(tmp_path: Path) -> None:
    _write(Case("bad", (), "sede: 1"), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "framework", "conf=run.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "run.yaml: 1 problem\n  sede  unknown key; did you mean seed?  (run.yaml:11)\n"
