"""What README and docs show is run, so that it stays true."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from framework.__main__ import main
from framework.cli.verbs import VERBS
from framework.config.schema import RunConfig
from framework.policies import RGD, SampleLosses
from tests.registrations import rolled_back

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = ROOT / "README.md"
#: verbs that start runs of their own
STUDIES = ("compare", "sweep", "recipe")
#: a word of a command that stands for something the reader has
PLACEHOLDER = re.compile(r"…|\.\.\.|\b[A-Z]{3,}\b")


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The fenced blocks of `language`; for "" the indented ones."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        pattern = r"(?:^ {4}.*\n)+" if not language else rf"^```{language}\n(?P<body>.*?)^```"
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL if language else re.MULTILINE):
            body = match["body"] if language else re.sub("^ {4}", "", match[0], flags=re.MULTILINE)
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, body))
    return found


def commands() -> list[tuple[str, list[str], str]]:
    """(place, words, expected output) of every `python -m framework` line; no output where none is shown."""
    found = []
    for block in [*blocks(""), *blocks("sh")]:
        for number, line in enumerate(block.text.splitlines(), block.line):
            command = line.removeprefix("$ ").strip()
            if command.startswith("python -m framework"):
                shown = block.text.partition(line + "\n")[2] if line.startswith("$ ") else ""
                words = shlex.split(command, comments=True)[3:]
                found.append((f"{block.page.relative_to(ROOT)}:{number}", words, shown))
    return found


COMMANDS = commands()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder: the files that the pages tell to write, under the names they give."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "plugins", "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for block in [*blocks("yaml"), *blocks("python")]:
        name = re.match(r"# ([\w/]+\.(yaml|py))\b", block.text)
        if name:
            path = Path(name[1])
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return tmp_path


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) >= 10
    assert len(blocks("yaml")) >= 3
    assert len(blocks("python")) >= 4


@pytest.mark.parametrize(("place", "words", "shown"), COMMANDS, ids=[place for place, _, _ in COMMANDS])
def test_commands(
    place: str,
    words: list[str],
    shown: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if any(PLACEHOLDER.search(word) for word in words):
        pytest.skip("stands for something the reader has")
    trains = words[0] not in VERBS
    if shown:
        monkeypatch.chdir(ROOT)  # it reads only, and the output names the files of the checkout
    elif words[0] in STUDIES and "dry=true" not in words:
        words = [*words, "dry=true"]  # hundreds of runs
    elif "launch=local" in words:
        # tests/launch starts processes; each takes seconds to import what it needs.
        words = ["show", *(words if trains else words[1:])]
    elif trains and place.startswith("README"):
        words = [*words, "train.epochs=1"]
    elif trains:
        words = ["check", *words]
    with rolled_back(workplace):
        code = main(words)
    out, err = capfd.readouterr()
    if shown:
        pattern = re.escape(shown.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, (out + err).strip()), out + err
    else:
        assert code == 0, err
    if words[0] not in VERBS:
        assert "run folder: " in out


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml(block: Block, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("shown.yaml")
    values = yaml.safe_load(block.text)
    if values.keys().isdisjoint({*RunConfig.model_fields, "defaults"}):  # arms of a comparison
        path.write_text(block.text, encoding="utf-8")
        words = ["compare", "conf=study/longtail_20", f"arms={path}", "seeds=1", "dry=true"]
        assert main(words) == 0, capsys.readouterr().err
        return
    if "name" in values:
        path.write_text(block.text, encoding="utf-8")
    else:  # a part of a run file
        path.write_text(f"defaults: [vit_rgd, _self_]\n{block.text}", encoding="utf-8")
    assert main(["check", f"conf={path}"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python(block: Block, workplace: Path) -> None:
    model = nn.Linear(3, 2)
    inputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    losses = F.cross_entropy(model(inputs), targets, reduction="none")
    namespace = {
        "F": F,
        "SampleLosses": SampleLosses,
        "all_groups": targets,
        "all_index": torch.arange(4),
        "all_losses": losses.detach(),
        "batches": [(inputs, targets)],
        "losses": losses,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "own_slice": slice(0, 4),
        "path": Path("saved.pt"),
        "policy": RGD(),
        "torch": torch,
        "world_size": 1,
    }
    with rolled_back(workplace):
        exec(compile(block.text, str(block), "exec"), {"__name__": "shown", **namespace})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_map_of_the_files() -> None:
    """README's map names nothing that is not there, and every folder and top-level module that is."""
    text = README.read_text(encoding="utf-8").partition("## Map of the files")[2].partition("\n## ")[0]
    named: set[Path] = set()
    for line in re.findall(r"^ {4}(.*)$", text, re.MULTILINE):
        folder = "framework" if line.startswith("  ") else ""
        names = re.split(r" {3,}", line.strip(), maxsplit=1)[0]
        named.update(Path(folder, name) for name in names.split())
    missing = [str(path) for path in named if not (ROOT / path).exists()]
    assert not missing
    package = ROOT / "framework"
    there = {path.relative_to(ROOT) for path in package.iterdir() if path.suffix == ".py"}
    there |= {path.parent.relative_to(ROOT) for path in package.glob("*/__init__.py")}
    there |= {Path(name) for name in ("conf", "docs", "plugins", "tests", "tools", "Makefile")}
    assert there - named == {Path("framework/__init__.py")}


def test_the_tour_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    folder = Path()
    for name in re.findall(r"(?<![\w/.-])([\w/]+\.py)\b", text):
        # `evaluation/evaluate.py`, `sums.py`: a bare name is in the folder named last.
        options = [ROOT / "framework" / name, ROOT / name, ROOT / "framework" / folder / name]
        assert any(path.is_file() for path in options), name
        folder = Path(name).parent if "/" in name else folder
