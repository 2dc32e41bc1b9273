"""Every file in `conf/` and every plugin in `plugins/` works: a new one is tested, or fails here."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.__main__ import main
from framework.study.grid import expand
from framework.study.named_arms import read_arms
from framework.study.plan import make_plan
from tests.registrations import rolled_back

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*") if path.is_file())
SHARED = "base.yaml"  # what experiments start from; no run of its own
RUN_FILES = (".", "paper", "study")
EXPERIMENTS = [str(f) for f in FILES if str(f.parent) in RUN_FILES and f.name != SHARED]
RECIPES = [str(f) for f in FILES if str(f.parent) == "recipe"]
ARMS = {
    "groups": "study/spurious_colour",
    "classes": "study/longtail_20",
    "outliers": "study/compas",
    "label_noise": "study/label_noise",
}
#: the same with options of their own to choose from
TUNED = ["groups_tuned", "classes_tuned", "outliers_tuned"]
OPTIONS = [str(f.with_suffix("")) for f in FILES if str(f.parent) not in (*RUN_FILES, "recipe", "arms")]

#: group -> a small experiment that any of its options fits into, as far as COMPANIONS does not say more
BASES = {
    "data": ["conf=digits_spurious", "policy=erm", "model=linear"],
    "model": ["conf=vit_rgd", "batch.size=8"],
    "task": ["conf=digits_spurious"],
    "policy": ["conf=digits_spurious"],
    "optimizer": ["conf=digits_spurious"],
    "schedule": ["conf=digits_spurious"],
    "engine": ["conf=digits_spurious"],
    "reporting": ["conf=digits_spurious"],
    "launch": ["conf=mlp_group_dro"],
    "sweep": ["conf=digits_spurious"],
}

# The generated files are not the published ones.
ANY_CONTENT = ["~data.source.checksums"]
# One of the twelve blocks, a quarter of the width: the file is tested, not the memory of the machine.
FOR_DIGITS = ["model.patch_size=4", "model.layers=1", "batch.size=2"]
NARROW = ["model.width=16", "batch.size=2"]
SMALL_BIRDS = ["data.source.size=32", "data.workers=0"]
REGRESSION = ["task=regression", "select.metric=worst_group_loss"]
LANGUAGE = ["task=language_modeling", "model=transformer_lm", "select.metric=perplexity"]
FEW_TOKENS = ["data.source.max_tokens=20000"]
LIBRARY = ["data=python_library", *FEW_TOKENS]
COMPANIONS = {
    "fashion_mnist_longtail.yaml": ANY_CONTENT,
    "data/fashion_mnist": ANY_CONTENT,
    "paper/waterbirds.yaml": SMALL_BIRDS,
    "data/diabetes": REGRESSION,
    "lm_python.yaml": FEW_TOKENS,
    "recipe/doremi_text.yaml": FEW_TOKENS,
    "lm_domains.yaml": ["model.layers=1", "model.heads=2", *NARROW],
    "data/lm_domains": [*LANGUAGE, *NARROW],
    "data/mixture_python_library": [
        *LANGUAGE,
        *(f"data.source.sources.{name}.max_tokens=20000" for name in ("prose", "code")),
    ],
    "data/python_library": [*LANGUAGE, *FEW_TOKENS],
    "data/snli_negation": ["model=text_transformer"],
    "data/snli_shards": ["model=text_transformer"],
    "data/waterbirds": SMALL_BIRDS,
    "launch/local": ["launch.num_processes=2"],
    # what is balanced already is refused
    "policy/class_balanced": ["data.sampling.name=uniform"],
    "policy/deferred": ["data.sampling.name=uniform"],
    "model/resnet18": NARROW,
    "model/resnet50": NARROW,
    "model/resnet50_pretrained": ["data=waterbirds", *SMALL_BIRDS],
    "model/text_transformer": ["data=snli_negation"],
    "model/transformer_lm": [*LANGUAGE, *LIBRARY],
    # a table whose twelfth column is called what the policy asks for
    "policy/doremi": [
        "data=adult",
        "data.source.extra=[baseline_loss]",
        f"data.source.names=[{','.join(f'c{k}' for k in range(9))},sex,c10,baseline_loss,c12,c13,income]",
        "data.source.drop=[c2]",
    ],
    "model/vit_base": FOR_DIGITS,
    "model/vit_small": FOR_DIGITS,
    "task/language_modeling": [*LANGUAGE, *LIBRARY],
    "task/regression": ["data=diabetes", "policy=erm", "select.metric=worst_group_loss"],
}
PLUGINS = {
    "conv_mixer": ["conf=vit_rgd", "model={name: conv_mixer, width: 8}"],
    "tail_weighting": ["conf=digits_spurious", "policy={name: tail_weighting, tail: 0.2}"],
    "two_moons": [
        "conf=digits_spurious",
        "data={source: {name: two_moons}, transforms: [], groups: [label, end]}",
    ],
}

#: run on several processes in tests/equivalence and tests/launch; here they compose
SEVERAL_PROCESSES = {"engine/ddp", "launch/local"}
#: of the papers' size: their run files take two steps, and the phases compose
LARGE_RECIPES = {"recipe/dfr_waterbirds.yaml", "recipe/jtt_waterbirds.yaml"}


@pytest.fixture(autouse=True)
def user(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the repository, with data; what a plugin registers is forgotten afterwards."""
    monkeypatch.setenv("FRAMEWORK_DATA", str(data_folder))
    with rolled_back(tmp_path):
        monkeypatch.chdir(ROOT)
        yield


def two_steps(tmp_path: Path, *words: str) -> None:
    folder = tmp_path / "run"
    assert main([*words, "train.epochs=null", "train.steps=2", f"run.dir={folder}"]) == 0
    assert (folder / "metrics.jsonl").read_text().count('"event": "train"') >= 1


def test_every_file_is_an_experiment_or_an_option_of_a_known_group() -> None:
    assert SHARED in map(str, FILES)
    assert {path.suffix for path in FILES} == {".yaml"}
    unknown = {Path(option).parent.as_posix() for option in OPTIONS} - set(BASES)
    assert not unknown, f"add a base experiment for {unknown} to BASES"
    strangers = set(COMPANIONS) - set(EXPERIMENTS) - set(RECIPES) - set(OPTIONS)
    assert not strangers, f"COMPANIONS names files that do not exist: {strangers}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"conf={name}", *COMPANIONS.get(name, [])]
    assert main(["check", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ok"
    two_steps(tmp_path, *words)


@pytest.mark.usefixtures("fork_server")
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name in LARGE_RECIPES:
        assert main(["recipe", f"conf={name}", "dry=true"]) == 0, capsys.readouterr().out
        assert len(capsys.readouterr().out.splitlines()) == 3
        return
    few = ["train.epochs=null", "train.steps=3", *COMPANIONS.get(name, [])]
    assert main(["recipe", f"conf={name}", *few, f"out={tmp_path}/recipe"]) == 0, capsys.readouterr().out
    assert "difference" in (tmp_path / "recipe" / "recipe.md").read_text()


@pytest.mark.parametrize("name", EXPERIMENTS + RECIPES)
def test_experiment_says_what_it_shows_and_is_called_like_its_file(name: str) -> None:
    lines = (ROOT / "conf" / name).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert f"name: {Path(name).stem}" in lines


@pytest.mark.parametrize("option", OPTIONS)
def test_option(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, name = option.split("/")
    if group == "sweep":
        # The spaces of the papers' policies are called like these.
        assert main(["sweep", *BASES[group], f"policy={name}", f"space={name}", "dry=true"]) == 0
        return
    if group == "reporting" and name in ("tensorboard", "mlflow", "wandb"):
        pytest.importorskip(name, reason=f"reporting={name} needs framework[{name}]")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    if option in SEVERAL_PROCESSES:
        assert main(["show", *BASES[group], *COMPANIONS.get(option, []), f"{group}={name}"]) == 0
        return
    if name.startswith("zero"):
        pytest.importorskip("deepspeed", reason="the zero engines need framework[deepspeed]")
    two_steps(tmp_path, *BASES[group], *COMPANIONS.get(option, []), f"{group}={name}")


def test_arms_are_of_different_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    names = {f.stem for f in FILES if str(f.parent) == "arms"}
    assert names == {*ARMS, *TUNED}
    for name, conf in ARMS.items():
        assert main(["compare", f"conf={conf}", f"arms={name}", "seeds=1", "dry=true"]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 5


@pytest.mark.parametrize("name", TUNED)
def test_tuned_arms_have_three_settings_each(name: str) -> None:
    grid = expand([], [], read_arms(name))
    assert grid.num_candidates == 3
    # The settings of an arm differ in one number: one of them is as good a test as all.
    few = [replace(arm, candidates=arm.candidates[-1:]) for arm in grid.arms]
    plan = make_plan(ARMS[name.removesuffix("_tuned")], replace(grid, arms=tuple(few)), [0])
    assert len(plan.loaded) == len(grid.arms)


def test_every_plugin_has_a_run() -> None:
    found = {path.stem for path in (ROOT / "plugins").iterdir() if not path.name.startswith("_")}
    assert found == set(PLUGINS)


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin(name: str, tmp_path: Path) -> None:
    two_steps(tmp_path, *PLUGINS[name], f"plugins=[{name}]")


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FRAMEWORK_DATA folder with files in the published formats, small and random."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    _adult(folder / "adult", random)
    _compas(folder / "compas")
    _waterbirds(folder, random)
    _fashion_mnist(folder / "fashion_mnist", random)
    _fashion_mnist_shards(folder)
    _letter(folder / "uci_arff", random)
    _cifar10(folder / "cifar10_jpg", random)
    _texts(folder)
    _as_shards(
        "adult",
        folder,
        f"data.source.path={folder}/adult/adult-train.csv",
        f"data.source.test_path={folder}/adult/adult-test.csv",
    )
    _as_shards(
        "snli_negation",
        folder,
        f"data.source.path={folder}/becel/snli/validation.tsv",
        f"data.source.test_path={folder}/becel/snli/test.tsv",
    )
    return folder


def _adult(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    for name, rows, stop in (("adult-train.csv", 120, ""), ("adult-test.csv", 40, ".")):
        lines = [
            f"{random.integers(17, 90)}, {random.choice(['Private', 'State-gov', '?'])}, 77516, HS-grad, 9,"
            f" Divorced, Sales, Husband, {race}, {sex}, 0, 0, 40, United-States, {income}{stop}"
            for race, sex, income, _ in zip(
                ["White", "Black", "Other"] * rows,
                ["Male", "Male", "Male", "Female", "Female"] * rows,
                ["<=50K", ">50K"] * rows,
                range(rows),
                strict=False,
            )
        ]
        (folder / name).write_text("\n".join(lines) + "\n")


def _compas(folder: Path) -> None:
    folder.mkdir()
    races = ("African-American", "Caucasian", "Hispanic")
    counts = "juv_fel_count,juv_misd_count,juv_other_count,priors_count"
    rows = [
        f"{n},{'Male' if n % 5 else 'Female'},{20 + n % 50},{races[n % 3]},0,0,{n % 2},{n % 7},"
        f"{n % 40 if n % 11 else ''},{'F' if n % 4 else 'M'},{n // 3 % 2}\n"
        for n in range(240)
    ]
    head = f"id,sex,age,race,{counts},days_b_screening_arrest,c_charge_degree,two_year_recid\n"
    (folder / "compas-two-years-noid.csv").write_text(head + "".join(rows))


def _waterbirds(folder: Path, random: np.random.Generator) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    for split, count in (("train", 32), ("validation", 16), ("test", 8)):
        images = folder / "waterbirds" / split
        images.mkdir(parents=True)
        rows = ["file_name,bird,background"]
        for number in range(count):
            bird, background = ("water" if number & bit else "land" for bit in (1, 2))
            rows.append(f"{number}.jpg,{bird},{background}")
            pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number}.jpg")
        (images / "metadata.csv").write_text("\n".join(rows) + "\n")
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=10)
    ResNetForImageClassification(config).save_pretrained(folder / "models" / "resnet-50")


def _fashion_mnist(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    for part, per_class in (("train", 20), ("t10k", 4)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), per_class)
        images = random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def _fashion_mnist_shards(folder: Path) -> None:
    words = [
        "shards",
        "conf=fashion_mnist_longtail",
        f"data.source.folder={folder}/fashion_mnist",
        *ANY_CONTENT,
    ]
    assert main([*words, "--out", f"{folder}/fashion_mnist_shards", "--max-size", "100kB"]) == 0


def _as_shards(conf: str, folder: Path, *overrides: str) -> None:
    out = folder / f"{conf.removesuffix('_negation')}_shards"
    assert main(["shards", f"conf={conf}", *overrides, "--out", str(out)]) == 0


def _letter(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    letters = [chr(ord("A") + number) for number in range(26)]
    head = "@RELATION letter\n" + "".join(f"@ATTRIBUTE 'x{k}' integer\n" for k in range(4))
    rows = [f"{','.join(map(str, random.integers(0, 16, 4)))},{letter}" for letter in letters * 8]
    text = f"% a comment\n{head}@ATTRIBUTE 'class' {{{','.join(letters)}}}\n@DATA\n" + "\n".join(rows) + "\n"
    (folder / "letter.arff").write_text(text)


def _cifar10(folder: Path, random: np.random.Generator) -> None:
    for split, per_class in (("train", 20), ("test", 2)):
        for name in ("airplane", "frog", "truck"):
            (folder / split / name).mkdir(parents=True)
            for number in range(per_class):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:04}.jpg")


def _texts(folder: Path) -> None:
    lines = "".join(f"{number} bottles stood on the wall, then one fell.\n" for number in range(200))
    for name in ("tinyshakespeare/input.txt", "plato_republic/republic.txt"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(lines)
    archives = {"state_union": ["1945-A.txt", "1946-B.txt"], "genesis": ["english-kjv.txt", "german.txt"]}
    (folder / "nltk").mkdir()
    for name, members in archives.items():
        with zipfile.ZipFile(folder / "nltk" / f"{name}.zip", "w") as archive:
            for member in members:
                archive.writestr(f"{name}/{member}", lines.replace("wall", "Gem\xe4uer").encode("latin-1"))
    (folder / "becel" / "snli").mkdir(parents=True)
    rows = [f"A dog runs.\t{'Nobody' if n % 4 == 0 else 'It'} runs.\t{n % 3}\n" for n in range(240)]
    for name in ("validation", "test"):
        (folder / "becel" / "snli" / f"{name}.tsv").write_text(f"premise\thypothesis\tlabel\n{''.join(rows)}")
