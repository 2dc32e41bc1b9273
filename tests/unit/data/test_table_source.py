from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from framework.data.batch import DataSpec
from framework.data.dataset import Dataset, Splits
from framework.data.unfitted import fit
from framework.errors import ConfigError, DataError
from tests.data_samples import component

CSV = """age,color, sex,weight,income
20,red,F,1,low
30,blue,M,2,high
?,red,M,3,low
50,,F,4,high
"""


def table(path: Path, target: str = "income", **options: object) -> Splits:
    splits: Splits = component("dataset", "table", path=str(path), target=target, **options)
    return splits


def inputs(dataset: Dataset) -> np.ndarray:
    found = dataset.fetch(np.arange(len(dataset)), None)[0]
    assert isinstance(found, Tensor)
    return found.numpy()


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(CSV)
    return path


def test_numbers_are_scaled_and_categories_become_features(csv: Path) -> None:
    made = fit(table(csv, drop=["weight"], groups=["sex"]))["train"]
    age = np.array([20, 30, 100 / 3, 50])
    # of the known ages 20, 30, 50: mean 33.3, population deviation 12.47
    scaled = (age - 100 / 3) / np.std([20, 30, 50])
    expected = np.array(
        # age, age missing; color: missing, blue, red; sex: F, M
        [
            [scaled[0], 0, 0, 0, 1, 1, 0],
            [scaled[1], 0, 0, 1, 0, 0, 1],
            [0, 1, 0, 0, 1, 0, 1],
            [scaled[3], 0, 1, 0, 0, 1, 0],
        ]
    )
    assert inputs(made) == pytest.approx(expected, abs=1e-6)
    assert made.spec == DataSpec((7,), 2, ("high", "low"))
    assert made.fetch(np.arange(4), None)[1].tolist() == [1, 0, 1, 0]
    assert made.columns["sex"].names == ("F", "M")
    assert made.columns["sex"].values.tolist() == [0, 1, 1, 0]


def test_statistics_and_categories_come_from_the_training_rows_alone(csv: Path) -> None:
    raw = table(csv, drop=["weight"])["train"]
    splits = fit({"train": raw.select(np.array([0, 1])), "test": raw.select(np.array([2, 3]))})
    # age 20 and 30: mean 25, deviation 5; a missing age is the mean; no color was missing in training
    expected = [[0, 0, 1, 0, 1], [5, 0, 0, 1, 0]]
    assert inputs(splits["train"]).tolist() == [[-1, 0, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert inputs(splits["test"]).tolist() == expected


def test_extra_columns_and_plain_filling(csv: Path) -> None:
    made = fit(table(csv, extra=["weight"], missing="mean", scale=False, drop=["sex"]))["train"]
    assert made.extra["weight"].tolist() == [1, 2, 3, 4]
    assert inputs(made) == pytest.approx(np.array([[20, 0, 1], [30, 1, 0], [100 / 3, 0, 1], [50, 0, 0]]))


def test_rows_within_limits_and_features_by_name(csv: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("age,color,sex,weight,income\n19,red,M,1,low\n21,red,F,7,high\n")
    options = {"features": ["weight", "sex"], "within": {"age": [20, 45.5], "weight": [0, 9]}}
    made = fit(table(csv, test_path=str(test), groups=["color"], scale=False, **options))
    # the third row has no age; weight, then sex: F, M
    assert inputs(made["train"]).tolist() == [[1, 1, 0], [2, 0, 1]]
    assert made["train"].columns["label"].values.tolist() == [1, 0]
    assert made["train"].columns["color"].values.tolist() == [1, 0]
    assert inputs(made["test"]).tolist() == [[7, 1, 0]]


def test_regression_and_listed_kinds(csv: Path) -> None:
    made = fit(table(csv, "weight", kind="regression", categorical=["age"], drop=["color", "sex"]))["train"]
    assert made.spec == DataSpec((6,), None)
    assert made.fetch(np.arange(4), None)[1].tolist() == [1, 2, 3, 4]
    assert "label" not in made.columns
    # age: missing, 20, 30, 50; income: high, low
    assert inputs(made)[2].tolist() == [1, 0, 0, 0, 0, 1]


def test_a_test_file_shares_classes_and_categories(csv: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("age,color,sex,weight,income\n40,green,M,1,low.\n")
    made = fit(table(csv, test_path=str(test), replace={"low.": "low"}, drop=["weight", "age"]))
    assert made["test"].spec == made["train"].spec
    assert made["test"].fetch(np.array([0]), None)[1].tolist() == [1]
    # color missing, blue, red: green was never seen; sex F, M
    assert inputs(made["test"]).tolist() == [[0, 0, 0, 0, 1]]


def test_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("1\t10\n2\t9\n1\t8\n")
    made = fit(table(path, 0, header=False, scale=False))["train"]  # type: ignore[arg-type]
    assert made.spec.class_names == ("1", "2")
    assert inputs(made).tolist() == [[10], [9], [8]]
    named = table(path, "y", header=False, names=["y", "x"])["train"]
    assert named.columns["label"].values.tolist() == [0, 1, 0]


def test_parquet_is_read_as_the_same_csv(csv: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(csv, na_values=["?"], skipinitialspace=True)
    path = tmp_path / "people.parquet"
    frame.to_parquet(path)
    left, right = fit(table(csv, groups=["sex"]))["train"], fit(table(path, groups=["sex"]))["train"]
    assert inputs(left).tolist() == inputs(right).tolist()
    assert left.columns["sex"].names == right.columns["sex"].names
    assert left.spec == right.spec


def test_arff_with_quotes_nominal_values_and_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "t.arff"
    path.write_text(
        "% comment\n@RELATION 'a b'\n@attribute 'on drug' { f, 'it''s', \"a, b\"}\n"
        "@attribute level REAL\n@attribute Class {neg,'very sick'}\n\n@data\n"
        "f,1.5,neg\n'a, b',?,'very sick'\n?,2.5,neg\n".replace("'it''s'", r"'it\'s'")
    )
    made = fit(table(path, "Class", scale=False))["train"]
    assert made.spec.class_names == ("neg", "very sick")
    # level, level missing, on drug: missing, "a, b", f
    assert inputs(made).tolist() == [[1.5, 0, 0, 0, 1], [2, 1, 0, 1, 0], [2.5, 0, 1, 0, 0]]


def test_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("x,y\n1,10\n2,9\n3,2\n4,NAN\n5,1e1\n6,Ab\n")
    assert table(path, "y")["train"].spec.class_names == ("2", "9", "10", "1e1", "Ab", "NAN")


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n", b"\n\r\n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_what_spreadsheets_put_before_and_between_lines_is_no_data(
    before: bytes, end: bytes, csv: Path, tmp_path: Path
) -> None:
    path = tmp_path / "saved.csv"
    path.write_bytes(before + CSV.encode().replace(b"\n", end))
    expected, found = (fit(table(file))["train"] for file in (csv, path))
    assert inputs(found).tolist() == inputs(expected).tolist()
    assert found.spec == expected.spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ["colour"]}, r"no column 'colour'; did you mean color\? \(columns: age, color, sex"),
        ({"numeric": ["color"]}, "column 'color' must be numbers, but row 1 has 'red'"),
        (
            {"missing": "error"},
            r"values are missing in age \(1\), color \(1\); drop these columns or set `missing`",
        ),
        ({"max_categories": 1}, "column 'color' has 3 categories in training, more than max_categories=1"),
        ({"drop": ["age", "color", "sex", "weight"]}, "no column is left as a feature"),
        ({"target": "color"}, "target 'color' is missing in 1 rows, the first is row 4"),
        ({"target": "sex", "kind": "regression"}, "column 'sex' must be numbers, but row 1 has 'F'"),
        ({"features": ["wieght"]}, r"no column 'wieght'; did you mean weight\?"),
        ({"features": ["income"]}, "no column is left as a feature"),
        ({"within": {"color": [0, 1]}}, "column 'color' must be numbers, but row 1 has 'red'"),
        ({"within": {"age": [60, 70]}}, "no row has 'age' within 60 and 70"),
        ({"names": ["a"]}, "`names` are for a file without a header line; set header=false"),
    ],
)
def test_what_does_not_fit_the_file_is_refused(csv: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        fit(component("dataset", "table", **{"path": str(csv), "target": "income", **options}))
