"""Datasets of the `datasets` library: the Hugging Face hub, Parquet, CSV, JSON, Arrow, image folders."""

from __future__ import annotations

from typing import Literal

from framework.data.dataset import Splits
from framework.data.files.images import Color
from framework.data.hub.columns import ColumnKind, check_columns, described, kind_of
from framework.data.hub.load import SUFFIXES, Rows, Split, load_files, load_named
from framework.data.hub.samples import (
    document_splits,
    image_splits,
    number_splits,
    read_facts,
    text_splits,
)
from framework.data.text.tokenizer import make_tokenizer
from framework.errors import DataError
from framework.options import Count
from framework.registry import register


@register.dataset("huggingface")
def huggingface(
    *,
    path: str,
    inputs: tuple[str, ...],
    target: str | None = None,
    kind: Literal["classification", "regression", "language_modeling"] = "classification",
    splits: dict[Split, str] | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    max_rows: Count | None = None,
    groups: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    size: Count | None = None,
    color: Color = "rgb",
    length: Count = 128,
    tokenizer: str | None = None,
    end_token: str | None = None,
) -> Splits:
    """Rows of the `datasets` library: images, texts, or numbers and lists of numbers.

    Needs the extra `datasets`. The library writes what it reads to Arrow files in its cache, once, and maps
    them into memory; rows can then be read in any order, so that the order of training is exact. Code that
    comes with a dataset is never run.

    Args:
        path: a name on the hub (OWNER/NAME), a folder that `save_to_disk` wrote, a folder of files or of
            images in CLASS/ or SPLIT/CLASS/, or a .parquet, .csv, .tsv, .json, .jsonl or .arrow file,
            where `*` stands for any name.
        inputs: the columns to learn from: one of images, or texts that are read one after the other, or
            numbers.
        target: column to predict; language modelling has none.
        kind: what the target is: a class, a real number, or the next token of the text.
        splits: train, validation or test -> name of the split there; null takes those of the same names.
        validation_path: file of the validation rows where `path` is a file.
        test_path: file of the test rows where `path` is a file.
        config: of several that a dataset on the hub has.
        revision: branch, tag or commit on the hub.
        max_rows: read only the first so many rows of each split, as a stream and into memory.
        groups: columns kept as metadata, to form groups of; language modelling takes one, as `domain`.
        extra: numeric columns handed to the policy instead of the model, e.g. `sample_weight`.
        size: height and width that images are scaled to, in pixels.
        color: `rgb` gives images three channels, `grayscale` one.
        length: tokens of a sample of text.
        tokenizer: `words`, `bytes`, or the path of a tokenizer.json or of its folder; null takes words for
            classification and bytes for language modelling.
        end_token: token of a tokenizer file that ends a text; null finds one of a common name.
    """
    if not inputs:
        raise ValueError("inputs: name at least one column")
    if (target is None) != (kind == "language_modeling"):
        raise ValueError("give a target, unless kind is language_modeling")
    others = {"validation": validation_path, "test": test_path}
    files = {split: file for split, file in others.items() if file is not None}
    if path.lower().endswith(SUFFIXES):
        if splits is not None:
            raise ValueError("`splits` is for a folder or a name on the hub; files have validation_path")
        rows = load_files({"train": path, **files}, max_rows)
    elif files:
        raise ValueError("validation_path and test_path are for files; name what to take in `splits`")
    else:
        rows = load_named(path, splits, config, revision, max_rows)
    check_columns(rows, [*inputs, *groups, *extra, *([] if target is None else [target])])
    content = _content(rows["train"], inputs)

    if target is None:
        if content != "text" or extra or len(groups) > 1:
            raise ValueError("language_modeling takes columns of texts, one of groups at most, and no extra")
        coder = make_tokenizer(tokenizer or "bytes", end_token)
        return document_splits(rows, inputs, groups[0] if groups else None, coder, length)
    if content == "text" and (extra or kind == "regression"):
        raise ValueError("texts take classes for targets and no extra columns")
    if content == "image" and size is None:
        raise ValueError("images need `size`, the height and width that they are scaled to")
    facts = read_facts(rows, target, kind == "classification", groups, extra)
    if content == "text":
        coder = make_tokenizer(tokenizer or "words", end_token)
        return text_splits(rows, inputs, facts, coder, length)
    if size is not None and content == "image":
        return image_splits(rows, inputs[0], facts, size, 3 if color == "rgb" else 1)
    return number_splits(rows, inputs, facts)


def _content(rows: Rows, inputs: tuple[str, ...]) -> ColumnKind:
    """What the inputs are, all of them."""
    kinds = {kind_of(rows, name) for name in inputs}
    if len(kinds) > 1 or "other" in kinds or (kinds == {"image"} and len(inputs) > 1):
        raise DataError(
            "inputs must be one column of images, or columns of texts, or columns of numbers, but they are"
            f" {described(rows, inputs)}"
        )
    return kinds.pop()
