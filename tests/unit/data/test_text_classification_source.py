import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from framework.data.dataset import Splits
from framework.errors import DataError
from tests.data_samples import component

ROWS = "one\ttwo\tlabel\tkind\nA cat.\tNobody sat\t1\tx\nThe\tnobodys\t0\ty\n"


def splits(folder: Path, content: str = ROWS, **options: Any) -> Splits:
    (folder / "t.tsv").write_text(content)
    path = str(folder / "t.tsv")
    chosen = {"text": ["one", "two"], "length": 6} | options
    made: Splits = component("dataset", "text_classification", path=path, **chosen)
    return made


def hashed(word: str) -> int:
    return zlib.crc32(word.encode()) % 2**14


def test_parts_end_and_are_cut_or_padded(tmp_path: Path) -> None:
    data = splits(tmp_path)["train"]
    inputs, targets = data.fetch(np.array([1, 0]), None)
    assert not isinstance(inputs, Tensor)
    end = 2**14
    assert inputs["input_ids"].tolist() == [
        [hashed("the"), end, hashed("nobodys"), end, end, end],
        [hashed("a"), hashed("cat"), hashed("."), end, hashed("nobody"), hashed("sat")],
    ]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert targets.tolist() == [0, 1]
    assert (data.spec.num_classes, data.spec.num_tokens, data.spec.next_tokens) == (2, 2**14 + 1, False)
    picked, labels = data.select(np.array([1])).fetch(np.array([0]), None)
    assert not isinstance(picked, Tensor)
    assert (picked["input_ids"][0] == inputs["input_ids"][0]).all()
    assert labels.tolist() == [0]


def test_names_of_classes_and_columns_from_words(tmp_path: Path) -> None:
    data = splits(
        tmp_path,
        classes={1: "yes", 0: "no"},
        groups=["kind"],
        contains={"negation": {"two": ["nobody", "no"]}},
        tokenizer="bytes",
    )["train"]
    found = {name: [c.names[v] for v in c.values] for name, c in data.columns.items()}
    assert found == {"label": ["yes", "no"], "kind": ["x", "y"], "negation": ["yes", "no"]}
    assert data.spec.class_names == ("yes", "no")
    both = splits(tmp_path, classes={1: "any", 0: "any"})["train"]
    assert (both.spec.class_names, both.columns["label"].values.tolist()) == (("any",), [0, 0])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    marked, plain = splits(tmp_path, f"\ufeff{ROWS}")["train"], splits(tmp_path)["train"]
    every = np.arange(2)
    assert marked.readable(every) == plain.readable(every)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (ROWS, {"label": "lable"}, r"t\.tsv, line 2: no column 'lable'; did you mean label\?"),
        (ROWS, {"classes": {"1": "a"}}, r"t\.tsv, line 3: label '0' is none of `classes` \(1\)"),
        (ROWS, {"text": ["three"]}, r"line 2: no column 'three'"),
        (ROWS + "a\tb\t \tx\n", {}, r"t\.tsv, line 4: column 'label' is empty"),
    ],
)
def test_broken_rows_are_named(content: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        splits(tmp_path, content, **options)
