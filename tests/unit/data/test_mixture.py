from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data.dataset import Column, Dataset
from framework.data.mixed import Mixed
from framework.data.text.blocks import TokenBlocks
from framework.data.unfitted import fit
from framework.data.views import with_columns, with_extra
from framework.errors import DataError
from tests.data_samples import component, labelled


def three() -> Mixed:
    """Samples 0 to 4, 0 to 2 and 0 to 3, as their inputs say."""
    return Mixed(
        {
            "a": labelled([0, 1, 0, 1, 0], columns={"colour": ([0, 1, 0, 1, 0], ("red", "blue"))}),
            "b": labelled([1, 0, 1]),
            "c": labelled([0, 0, 1, 1], columns={"colour": ([0, 0, 1, -1], ("green", "red"))}),
        },
        "domain",
    )


def numbers(dataset: Dataset, positions: list[int]) -> list[int]:
    inputs, _ = dataset.fetch(np.array(positions, dtype=np.int64), None)
    assert isinstance(inputs, torch.Tensor)
    return inputs[:, 0].int().tolist()


def texts(dataset: Dataset, column: str) -> list[str]:
    found = dataset.columns[column]
    return [*np.array([*found.names, "-"])[found.values]]


def test_samples_come_from_their_source_in_the_order_asked_for() -> None:
    mixed = three()
    assert len(mixed) == 12
    assert numbers(mixed, [11, 0, 5, 7, 4, 5]) == [3, 0, 0, 2, 4, 0]
    _, targets = mixed.fetch(np.arange(12), None)
    assert targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1] == mixed.columns["label"].values.tolist()
    assert texts(mixed, "domain") == ["a"] * 5 + ["b"] * 3 + ["c"] * 4
    assert mixed.extra["sample_weight"].tolist() == [0, 0.5, 1, 1.5, 2, 0, 0.5, 1, 0, 0.5, 1, 1.5]


def test_columns_have_the_names_of_all_sources_and_no_value_where_one_lacks_them() -> None:
    colours = ["red", "blue", "red", "blue", "red", "-", "-", "-", "green", "green", "red", "-"]
    assert texts(three(), "colour") == colours


def test_a_selection_keeps_order_and_columns() -> None:
    chosen = np.array([10, 2, 7, 1, 9])
    mixed, selected = three(), three().select(chosen)
    assert numbers(selected, [0, 1, 2, 3, 4]) == [2, 2, 2, 1, 1]
    assert numbers(selected.select(np.array([4, 0])), [0, 1]) == [1, 2]
    for column in ("domain", "label", "colour"):
        assert texts(selected, column) == [texts(mixed, column)[place] for place in chosen]
    assert selected.extra["sample_weight"].tolist() == mixed.extra["sample_weight"][chosen].tolist()


def test_what_a_transform_added_stays_when_samples_are_left_out() -> None:
    mixed = with_extra(three(), "baseline_loss", np.arange(12, dtype=np.float32))
    assert mixed.select(np.array([7, 2])).extra["baseline_loss"].tolist() == [7, 2]
    recoloured = with_columns(mixed, {"colour": Column(np.arange(12) % 2, ("x", "y"))})
    chosen = recoloured.select(np.array([7, 2]))
    assert texts(chosen, "colour") == ["y", "x"]
    assert chosen.extra["baseline_loss"].tolist() == [7, 2]


def test_a_mixture_of_shards_knows_where_the_files_begin() -> None:
    parts = {name: labelled(np.zeros(6, dtype=int)) for name in ("a", "b")}
    for part in parts.values():
        part.runs = lambda: np.array([0, 4])  # type: ignore[method-assign]
    mixed = Mixed(parts, "domain")
    runs = mixed.runs()
    assert runs is not None
    assert runs.tolist() == [0, 4, 6, 10]
    assert mixed.select(np.array([8, 1])).runs() is None
    assert three().runs() is None


def test_texts_are_packed_by_source_after_the_split(tmp_path: Path) -> None:
    for name in ("plays", "law"):
        (tmp_path / f"{name}.txt").write_text(f"{name} of the land. " * 30)
    options = {name: {"path": f"{tmp_path}/{name}.txt", "length": 16} for name in ("plays", "law")}
    sources = {name: {"name": "text", **option} for name, option in options.items()}
    packed = fit(component("dataset", "mixture", sources=sources))["train"]
    alone = {name: fit(component("dataset", "text", **option))["train"] for name, option in options.items()}
    assert len(packed) == sum(map(len, alone.values()))
    assert packed.columns["domain"].names == ("plays", "law")
    first = alone["plays"]
    assert isinstance(first, TokenBlocks)
    inputs, targets = packed.fetch(np.array([0, len(first)]), None)
    assert isinstance(inputs, torch.Tensor)
    for place, dataset in enumerate(alone.values()):
        wanted = dataset.fetch(np.array([0]), None)
        assert torch.equal(inputs[place], wanted[0][0])  # type: ignore[index]
        assert torch.equal(targets[place], wanted[1][0])
    told = packed.readable(np.array([len(first), 0]))
    assert told is not None
    assert [text["text"][:4] for text in told] == ["law ", "play"]


def test_sources_that_do_not_fit_are_named_with_all_that_differs(tmp_path: Path) -> None:
    digits = {"name": "digits"}
    with pytest.raises(DataError, match="do not fit together") as caught:
        component("dataset", "mixture", sources={"a": digits, "b": {"name": "digits", "flat": True}})
    assert str(caught.value).endswith("'b' has input_shape 64 and 'a' has 1, 8, 8")
    with pytest.raises(DataError, match="different splits: 'a' train; 'b' train, validation, test"):
        component("dataset", "mixture", sources={"a": digits, "b": {"name": "synthetic_groups"}})
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    table = {"name": "table", "path": f"{tmp_path}/t.csv", "target": "y"}
    with pytest.raises(DataError, match="source 'b' of the mixture is a table"):
        component("dataset", "mixture", sources={"a": table, "b": table} | {"a": digits})


def test_extra_numbers_that_only_one_source_has_are_refused() -> None:
    bare = labelled([0, 1])
    bare.extra = {}
    with pytest.raises(DataError, match="sources 'a' and 'b': only one has the numbers sample_weight"):
        Mixed({"a": labelled([0, 1]), "b": bare}, "domain")
