"""Samples as a person sees them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from framework.data.batch import DataSpec
from framework.data.in_memory import ArrayDataset
from framework.data.preview import preview
from framework.data.sources.table import table
from framework.data.sources.text import text
from framework.data.sources.text_classification import text_classification
from framework.data.unfitted import fit


def images(channels: int) -> ArrayDataset:
    inputs = torch.arange(3 * channels * 20, dtype=torch.float32).view(3, channels, 4, 5)
    return ArrayDataset(inputs, torch.tensor([0, 1, 0]), DataSpec((channels, 4, 5), 2, ("no", "yes")))


def test_pictures() -> None:
    for channels in (1, 2, 3):
        (shown,) = preview(images(channels), [1])
        picture = Image.open(io.BytesIO(base64.b64decode(shown.image.partition(",")[2])))
        assert picture.size == (5, 4)
        assert shown.target == "yes"
        pixels = np.asarray(picture)
        if channels == 1:
            np.testing.assert_array_equal(pixels, np.linspace(0, 255, 20).round().reshape(4, 5))
        else:
            assert pixels.shape == (4, 5, 3)
            assert (pixels[..., 2] == 0).all() == (channels == 2)


def test_rows_of_a_table_are_shown_as_its_file_has_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,town,income,rich\n40,Rome,,no\n20.5,,7,yes\n31,Bern,1e6,no\n")
    splits = fit(table(path=str(path), target="rich"))
    shown = preview(splits["train"], [1, 0, 2])
    assert [sample.fields for sample in shown] == [
        {"age": "20.5", "income": "7", "town": "(missing)"},
        {"age": "40", "income": "(missing)", "town": "Rome"},
        {"age": "31", "income": "1e+06", "town": "Bern"},
    ]
    assert [sample.target for sample in shown] == ["yes", "no", "no"]
    assert preview(splits["train"].select(np.array([2])), [0]) == [shown[2]]


def test_texts_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("text\tlabel\nA good film!\tyes\nToo long, far too long to be kept\tno\n")
    for tokenizer, length, first in (("words", 6, "a good film !"), ("bytes", 14, "A good film!")):
        splits = text_classification(path=str(path), tokenizer=tokenizer, length=length)
        shown = preview(splits["train"], [0, 1])
        assert [sample.target for sample in shown] == ["yes", "no"]
        assert shown[0].fields == {"text": first}
        assert shown[1].fields["text"].lower().startswith("too long")
    (tmp_path / "one.txt").write_text("Grüße, and more")
    blocks = fit(text(path=str(tmp_path / "*.txt"), length=8))["train"]
    assert [sample.fields["text"] for sample in preview(blocks, [0, 1])] == ["Grüße,", " and mor"]


def test_anything_else_is_numbers() -> None:
    dataset = ArrayDataset(torch.arange(40.0).view(2, 20), torch.tensor([1.5, 2.5]), DataSpec((20,), None))
    (shown,) = preview(dataset, [1])
    assert shown.target == "2.5"
    assert shown.fields == {"inputs": "20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, ... (20 numbers)"}
    assert preview(dataset, []) == []
