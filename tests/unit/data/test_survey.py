from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.config.schema import DataConfig
from framework.data.batch import DataSpec
from framework.data.in_memory import ArrayDataset
from framework.data.survey.duplicates import Duplicate, find_duplicates
from framework.data.survey.findings import findings
from framework.data.survey.samples import survey_split
from framework.data.survey.survey import Survey, survey_data
from tests.data_samples import data_config

WHOLE = {"validation": 0, "test": 0, "stratify": None}


def numbers(rows: list[list[float]], targets: list[int]) -> ArrayDataset:
    inputs = torch.tensor(rows)
    return ArrayDataset(inputs, torch.tensor(targets), DataSpec((inputs.shape[1],), 2, ("no", "yes")))


def arrays(folder: Path, **splits: tuple[Any, Any]) -> DataConfig:
    """The data section of arrays (inputs, targets) that are written to `folder`."""
    source: dict[str, Any] = {"name": "arrays", "folder": str(folder)}
    for split, (inputs, targets) in splits.items():
        np.savez(folder / f"{split}.npz", x=np.array(inputs, np.float32), y=np.array(targets))
        source[split] = {"inputs": f"{split}.npz:x", "targets": f"{split}.npz:y"}
    return data_config(source=source, splits=WHOLE)


def one_finding(survey: Survey, part: str) -> str:
    found = [text for text in findings(survey) if part in text]
    assert len(found) == 1, findings(survey)
    return found[0]


def test_moments_are_those_of_numpy_and_leave_out_what_is_no_number() -> None:
    random = np.random.default_rng(0)
    # a large offset, whose squares would swallow the spread
    values = random.normal(size=(1300, 3)).astype(np.float32) * [1, 0, 5] + [1e4, 7, 0]
    values = values.astype(np.float32)
    values[5, 2], values[700, 2], values[9, 0] = np.nan, np.nan, np.inf
    survey = survey_split("train", numbers(values.tolist(), [0] * 1300), None)
    moments = survey.moments
    assert moments is not None
    clean = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    assert moments.mean == pytest.approx(np.nanmean(clean, axis=0))
    assert moments.deviation == pytest.approx(np.nanstd(clean, axis=0), rel=1e-6)
    assert moments.low == pytest.approx(np.nanmin(clean, axis=0))
    assert moments.high == pytest.approx(np.nanmax(clean, axis=0))
    assert moments.missing.tolist() == [0, 0, 2]
    assert moments.infinite.tolist() == [1, 0, 0]
    assert survey.constant == (1, 3)


def test_images_are_summed_up_by_channel() -> None:
    images = (
        torch.rand(600, 2, 3, 3, generator=torch.Generator().manual_seed(0))
        + torch.tensor([0.0, 5.0])[:, None, None]
    )
    dataset = ArrayDataset(images, torch.zeros(600, dtype=torch.int64), DataSpec((2, 3, 3), 1, ("a",)))
    moments = survey_split("train", dataset, None).moments
    assert moments is not None
    wanted = images.double().numpy().transpose(1, 0, 2, 3).reshape(2, -1)
    assert moments.mean == pytest.approx(wanted.mean(axis=1))
    assert moments.deviation == pytest.approx(wanted.std(axis=1))
    assert moments.low == pytest.approx(wanted.min(axis=1))


def test_duplicates_are_told_by_position_split_and_target() -> None:
    train = numbers([[0, 1], [2, 3], [0, 1], [4, 5], [2, 3]], [0, 1, 0, 1, 0])
    test = numbers([[9, 9], [4, 5], [9, 9], [0, 1]], [0, 0, 0, 0])
    surveys = [survey_split("train", train, None), survey_split("test", test, None)]
    assert find_duplicates(surveys) == [
        Duplicate("train", 0, "train", 2, True),
        Duplicate("train", 1, "train", 4, False),
        Duplicate("train", 3, "test", 1, False),
        Duplicate("test", 0, "test", 2, True),
        Duplicate("train", 0, "test", 3, True),
    ]


def test_large_splits_are_sampled_evenly() -> None:
    dataset = numbers([[float(n)] for n in range(1000)], [0] * 1000)
    survey = survey_split("train", dataset, 5)
    assert survey.positions.tolist() == [0, 249, 499, 749, 999]
    assert not survey.is_whole
    assert survey.values is not None
    assert survey.values[:, 0].tolist() == [0, 249, 499, 749, 999]


def test_what_is_wrong_with_arrays_is_said(tmp_path: Path) -> None:
    rows = [[n, 1.0, 3.0] for n in range(60)]
    rows[20][1] = float("nan")
    train = (rows, [0] * 56 + [1] * 4)
    test = ([[3, 1.0, 3.0], [100, 1.0, 3.0], [4, 1.0, 3.0]], [0, 0, 1])
    survey = survey_data(arrays(tmp_path, train=train, validation=test), 0, None)
    assert survey.class_counts["train"].tolist() == [56, 4]
    assert survey.class_counts["validation"].tolist() == [2, 1]
    assert "train: 1 number of the inputs is missing (NaN), most at place 1 (1)" in one_finding(survey, "NaN")
    assert "2 samples of validation with exactly the inputs of one in train" in one_finding(survey, "exactly")
    assert "validation = train: 0 = 3; 2 = 4" in one_finding(survey, "exactly")
    assert one_finding(survey, "different target").startswith("1 sample has")
    assert one_finding(survey, "same in all training").startswith("1 of 3 features")
    assert one_finding(survey, "imbalanced") == (
        "The classes are imbalanced in training: 0 has 56 samples, 14 times as many as 1 (4)."
    )
    assert "train has fewer than 10 samples of group 1 (4)" in one_finding(survey, "train has fewer")
    assert one_finding(survey, "mostly chance").startswith(
        "validation has fewer than 10 samples of groups 0 (2); 1 (1)"
    )


def test_sound_data_have_no_findings(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    train, test = ((random.normal(size=(40, 3)), [0, 1] * 20) for _ in range(2))
    assert findings(survey_data(arrays(tmp_path, train=train, test=test), 0, None)) == []


def test_a_part_that_was_read_is_called_a_part(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    survey = survey_data(arrays(tmp_path, train=(random.normal(size=(40, 3)), [0, 1] * 20)), 0, 10)
    assert "10 of 40 in train" in one_finding(survey, "Only a part")
    assert survey.class_counts["train"].tolist() == [20, 20]


def test_tables_are_told_as_they_stand_in_the_file(tmp_path: Path) -> None:
    head = "age,job,city,site,income\n"
    rows = [f"{n if n % 4 else ''},{'?' if n == 5 else 'clerk'},x,{n % 2},{n % 2}\n" for n in range(40)]
    (tmp_path / "train.csv").write_text(head + "".join(rows))
    (tmp_path / "test.csv").write_text(head + "".join(f"{n}.5,smith,x,1,{n % 2}\n" for n in range(12)))
    survey = survey_data(
        data_config(
            source={
                "name": "table",
                "path": f"{tmp_path}/train.csv",
                "test_path": f"{tmp_path}/test.csv",
                "target": "income",
                "groups": ["site"],
            },
            splits=WHOLE,
            groups=["site"],
        ),
        0,
        None,
    )
    columns = {column.name: column for column in survey.columns}
    assert {name: dict(column.missing) for name, column in columns.items()} == {
        "age": {"train": 10, "test": 0},
        "job": {"train": 1, "test": 0},
        "city": {"train": 0, "test": 0},
        "site": {"train": 0, "test": 0},
    }
    known = [n for n in range(40) if n % 4]
    assert columns["age"].content == f"1 to 39, mean {np.mean(known):.6g}"
    assert columns["job"].content == "clerk (39)"
    assert [name for name, column in columns.items() if column.constant] == ["city"]
    assert one_finding(survey, "Column age") == "Column age has no value in 10 of train."
    assert one_finding(survey, "same value") == "Column city has the same value in all training samples (x)."
    assert "test has no sample of group 0, which cannot be measured on test" in one_finding(
        survey, "no sample"
    )


def test_texts_have_lengths_and_those_that_were_cut_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{'long ' * (9 if n < 10 else 2)}{n}\t{n % 2}\n" for n in range(40))
    (tmp_path / "train.tsv").write_text(f"text\tlabel\n{rows}")
    source = {"name": "text_classification", "path": f"{tmp_path}/train.tsv", "length": 8}
    survey = survey_data(data_config(source=source, splits=WHOLE), 0, None)
    lengths = survey.splits[0].lengths
    assert lengths is not None
    # two words, a number and the end
    assert sorted(lengths.tolist()) == [4] * 30 + [8] * 10
    assert survey.splits[0].moments is None
    assert one_finding(survey, "tokens").startswith("train: 25% of the texts fill all 8 tokens")


def test_samples_without_a_value_and_columns_of_one_are_named(tmp_path: Path) -> None:
    lines = "".join(f"{n},{'' if n < 3 else 'north'},{n % 2}\n" for n in range(30))
    (tmp_path / "t.csv").write_text(f"x,site,y\n{lines}")
    source = {
        "name": "table",
        "path": f"{tmp_path}/t.csv",
        "target": "y",
        "groups": ["site"],
        "drop": ["site"],
    }
    survey = survey_data(data_config(source=source, splits=WHOLE), 0, None)
    assert survey.unnamed == [("train", "site", 3)]
    assert "3 samples have no value in the metadata column site" in one_finding(survey, "metadata")
