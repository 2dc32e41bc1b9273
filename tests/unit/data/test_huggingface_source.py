import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from framework.data.dataset import Dataset, Splits
from framework.data.sources.image_folder import image_folder
from framework.data.unfitted import fit
from framework.errors import ConfigError, DataError, UserError
from tests.data_samples import component

datasets = pytest.importorskip("datasets", reason="the source needs framework[datasets]")

ROWS = pd.DataFrame(
    {
        "height": [1.5, 2.0, 2.5, 3.0],
        "parts": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
        "animal": ["cat", "dog", "dog", "ant"],
        "site": [10, 9, 9, 10],
        "weight": [1.0, 0.5, 0.25, 2.0],
        "story": ["The cat sat.", "A dog ran far.", "A dog sat.", "An ant."],
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def source(path: Path | str, **options: Any) -> Splits:
    return component("dataset", "huggingface", path=str(path), **options)  # type: ignore[no-any-return]


def inputs_of(dataset: Dataset) -> torch.Tensor:
    inputs, _ = dataset.fetch(np.arange(len(dataset)), None)
    assert isinstance(inputs, torch.Tensor)
    return inputs


def named(dataset: Dataset, column: str) -> list[str]:
    found = dataset.columns[column]
    return [found.names[value] for value in found.values]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    flat = ROWS.drop(columns="parts")
    if kind == "parquet":
        ROWS.to_parquet(path)
    elif kind in ("csv", "tsv"):
        flat.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    elif kind == "jsonl":
        flat.to_json(path, orient="records", lines=True)
    elif kind == "json":
        path.write_text(json.dumps(flat.to_dict(orient="records")))
    elif kind == "arrow":
        import pyarrow as pa

        table = pa.Table.from_pandas(ROWS)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        datasets.Dataset.from_pandas(ROWS).save_to_disk(path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "json", "jsonl", "arrow", "disk"])
@pytest.mark.parametrize("max_rows", [None, 3])
def test_every_local_format_gives_the_same_samples(kind: str, max_rows: int | None, tmp_path: Path) -> None:
    count = max_rows or 4
    splits = source(
        written(tmp_path, kind), inputs=["height", "site"], target="animal", groups=["site"],
        extra=["weight"], max_rows=max_rows,
    )  # fmt: skip
    train = splits["train"]
    assert inputs_of(train).tolist() == [[1.5, 10], [2, 9], [2.5, 9], [3, 10]][:count]
    assert named(train, "label") == ["cat", "dog", "dog", "ant"][:count]
    assert train.spec.class_names == (("ant", "cat", "dog") if max_rows is None else ("cat", "dog"))
    # numbers in the order of numbers, not of their digits
    assert train.columns["site"].names == ("9", "10")
    assert named(train, "site") == ["10", "9", "9", "10"][:count]
    assert train.extra["weight"].tolist() == [1, 0.5, 0.25, 2][:count]


def test_lists_are_features_and_targets_may_be_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    train = source(path, inputs=["parts", "height"], target="weight", kind="regression")["train"]
    assert inputs_of(train).tolist() == [[1, 2, 1.5], [3, 4, 2], [5, 6, 2.5], [7, 8, 3]]
    _, targets = train.fetch(np.array([2, 0]), None)
    assert targets.tolist() == [0.25, 1.0]
    assert train.spec.num_classes is None


def test_files_and_splits_share_one_vocabulary(tmp_path: Path) -> None:
    ROWS[:3].to_parquet(tmp_path / "a-0.parquet")
    ROWS[:1].to_parquet(tmp_path / "a-1.parquet")
    ROWS[3:].to_parquet(tmp_path / "b.parquet")
    splits = source(
        tmp_path / "a-*.parquet", test_path=f"{tmp_path}/b.parquet", inputs=["height"], target="animal"
    )
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 4, "test": 1}
    assert splits["train"].spec == splits["test"].spec
    assert named(splits["test"], "label") == ["ant"]


def test_a_saved_dataset_keeps_class_names_and_splits(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "x": datasets.List(datasets.Value("float32"), 2),
            "y": datasets.ClassLabel(names=["no", "yes", "may"]),
        }
    )
    rows = datasets.Dataset.from_dict({"x": [[0, 1], [2, 3], [4, 5]], "y": [1, 0, 1]}, features=features)
    datasets.DatasetDict(train=rows, dev=rows.select([2])).save_to_disk(tmp_path / "saved")
    only = source(tmp_path / "saved", inputs=["x"], target="y")
    assert list(only) == ["train"]
    assert only["train"].spec.class_names == ("no", "yes", "may")
    splits = source(
        tmp_path / "saved", inputs=["x"], target="y", splits={"train": "train", "validation": "dev"}
    )
    assert inputs_of(splits["validation"]).tolist() == [[4, 5]]
    assert named(splits["validation"], "label") == ["yes"]
    with pytest.raises(DataError, match=r"no split 'dve'; did you mean dev\? \(it has train, dev\)"):
        source(tmp_path / "saved", inputs=["x"], target="y", splits={"train": "dve"})


def test_images_are_those_of_the_image_folder(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("train/ant/0", "train/ant/1", "train/bee/0", "test/bee/0"):
        file = tmp_path / "images" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(file)
    wanted = image_folder(path=f"{tmp_path}/images", size=5, color="grayscale")
    for max_rows in (None, 3):
        found = source(
            tmp_path / "images",
            inputs=["image"],
            target="label",
            size=5,
            color="grayscale",
            max_rows=max_rows,
        )
        for split in ("train", "test"):
            assert torch.equal(inputs_of(found[split]), inputs_of(wanted[split]))
            assert named(found[split], "label") == named(wanted[split], "label")
    part = found["train"].select(np.array([2, 0]))
    assert torch.equal(inputs_of(part), inputs_of(wanted["train"])[[2, 0]])
    with pytest.raises(ConfigError, match="images need `size`"):
        source(tmp_path / "images", inputs=["image"], target="label")


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    good = BytesIO()
    Image.new("L", (4, 4)).save(good, "PNG")
    images = [{"bytes": good.getvalue(), "path": None}, {"bytes": b"no image", "path": None}, None]
    features = datasets.Features({"image": datasets.Image(), "y": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": images, "y": ["a", "b", "a"]}, features=features)
    rows.save_to_disk(tmp_path / "saved")
    train = source(tmp_path / "saved", inputs=["image"], target="y", size=4)["train"]
    for place in (1, 2):
        with pytest.raises(DataError, match=f"column 'image', row {place + 1}: cannot be decoded"):
            train.fetch(np.array([0, place]), None)


def test_texts_are_tokenized_as_those_of_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, "csv")
    mine = source(path, inputs=["story", "animal"], target="animal", length=8, groups=["site"])["train"]
    theirs = component(
        "dataset", "text_classification", path=str(path), text=["story", "animal"], label="animal", length=8,
        groups=["site"],
    )["train"]  # fmt: skip
    left, right = (dataset.fetch(np.arange(4), None)[0] for dataset in (mine, theirs))
    assert isinstance(left, dict)
    assert isinstance(right, dict)
    assert all(torch.equal(left[name], right[name]) for name in ("input_ids", "attention_mask"))
    assert mine.spec == theirs.spec
    assert named(mine, "label") == named(theirs, "label")


def test_documents_for_language_modelling(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl")
    splits = source(path, inputs=["story"], kind="language_modeling", groups=["animal"], length=16)
    train = fit(splits)["train"]
    told = train.readable(np.arange(len(train)))
    assert told is not None
    parts = dict.fromkeys(("ant", "cat", "dog"), "")
    for name, text in zip(named(train, "domain"), told, strict=True):
        parts[name] += text["text"]
    assert parts["ant"] == "An ant."
    assert parts["cat"] == "The cat sat."
    assert parts["dog"].startswith("A dog ran far. | A")
    assert train.columns["domain"].names == ("ant", "cat", "dog")
    counts = dict.fromkeys(("ant", "cat", "dog"), 0)
    for name, tokens in zip(named(train, "domain"), train.extra["num_tokens"].tolist(), strict=True):
        counts[name] += int(tokens)
    # a token a byte, and one for the end of each document
    assert counts == {"ant": 8, "cat": 13, "dog": 15 + 11}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["hieght"], "target": "animal"}, r"no column 'hieght'; did you mean height\?"),
        ({"inputs": ["height", "story"], "target": "animal"}, "height: Value.*, story: "),
        ({"inputs": ["height"], "target": "weight"}, "column 'weight' must be classes: .*, not float"),
        ({"inputs": ["height"], "target": "story", "kind": "regression"}, "'story' must be numbers"),
        ({"inputs": ["height"], "target": "animal", "extra": ["story"]}, "'story' must be numbers"),
        ({"inputs": [], "target": "animal"}, "name at least one column"),
        ({"inputs": ["height"]}, "give a target, unless kind is language_modeling"),
        ({"inputs": ["height"], "kind": "language_modeling"}, "language_modeling takes columns of texts"),
        ({"inputs": ["story"], "target": "weight", "kind": "regression"}, "texts take classes"),
        (
            {"inputs": ["height"], "target": "animal", "splits": {"train": "train"}},
            "`splits` is for a folder",
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        source(written(tmp_path, "parquet"), **options)


@pytest.mark.parametrize("column", ["height", "animal", "story", "parts"])
def test_missing_values_are_named_by_row(column: str, tmp_path: Path) -> None:
    holes = ROWS.astype(object)
    holes.at[2, column] = None
    holes["height"] = holes["height"].astype(float)
    holes.to_parquet(tmp_path / "holes.parquet")
    with pytest.raises(DataError, match=f"row 3: (column|target) '{column}'|'{column}' has lists"):
        source(
            tmp_path / "holes.parquet",
            inputs=["story" if column == "animal" else column],
            target="animal",
        )


def test_what_is_not_there_or_broken_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("nonsense")
    ask = {"inputs": ["x"], "target": "y"}
    with pytest.raises(DataError, match=r"bad.parquet: the library datasets cannot read it: Parquet"):
        source(tmp_path / "bad.parquet", **ask)
    with pytest.raises(DataError, match=r"no\.parquet does not exist"):
        source(tmp_path / "no.parquet", **ask)
    with pytest.raises(DataError, match="neither a folder, nor a file"):
        source(tmp_path / "no_folder", **ask)


def test_the_hub_without_a_network_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    # fails at once instead of after five tries
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"owner/name: .* Couldn't reach 'owner/name'.*name a local folder"):
        source("owner/name", inputs=["x"], target="y")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path, "csv")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install framework\[datasets\]"):
        source(path, inputs=["height"], target="animal")
