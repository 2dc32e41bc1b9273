"""Arrays in files: NumPy archives, and the idx files of MNIST and Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from framework.config.schema import Section
from framework.data.batch import DataSpec
from framework.data.dataset import Column, Splits
from framework.data.files.array_files import read_array
from framework.data.files.paths import existing_file, existing_folder, verify
from framework.data.in_memory import ArrayDataset
from framework.errors import DataError
from framework.registry import register


class ArrayRefs(Section):
    """Where the arrays of one split are: `FILE.npz:KEY`, `FILE.npy` or an idx file, plain or .gz."""

    inputs: str
    """(samples, features), (samples, height, width), or that with channels."""
    targets: str
    """(samples,) class ids or real numbers."""
    columns: dict[str, str] = {}
    """Further metadata columns by name, (samples,) integers each."""
    extra: dict[str, str] = {}
    """Numbers for the policy by name, (samples,) each, e.g. `sample_weight`."""


@register.dataset("arrays")
def arrays(
    *,
    train: ArrayRefs,
    validation: ArrayRefs | None = None,
    test: ArrayRefs | None = None,
    folder: str = ".",
    kind: Literal["classification", "regression"] = "classification",
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None,
    pixels: Literal["unit", "raw"] = "unit",
    channels: Literal["first", "last"] = "first",
    checksums: dict[str, str] = {},  # noqa: B006
) -> Splits:
    """Arrays in .npz, .npy or idx (.gz) files, with or without an official test split.

    Args:
        train: where the training arrays are.
        validation: where the validation arrays are, if the data brings them.
        test: where the test arrays are, if the data brings them.
        folder: what file names are relative to.
        kind: whether targets are class ids or real numbers.
        classes: names of the classes, in the order of their ids; null names them by their ids.
        pixels: `unit` divides 8-bit numbers by 255; `raw` keeps them.
        channels: where arrays of four dimensions have their channels.
        checksums: file name -> `md5:HEX` or `sha256:HEX`, verified before reading.
    """
    if classes is not None and len(set(classes)) < len(classes):
        raise ValueError("`classes` must be different names")
    root = existing_folder(folder)
    for name, checksum in checksums.items():
        verify(existing_file(root / name), checksum)
    references = {"train": train, "validation": validation, "test": test}
    given = {name: refs for name, refs in references.items() if refs is not None}
    targets = {name: _one_dimension(root, refs.targets) for name, refs in given.items()}
    ids = np.unique(targets["train"]) if kind == "classification" else np.zeros(0)
    if classes is not None and kind == "classification":
        ids = np.arange(len(classes))
    names = classes or tuple(map(str, ids.tolist()))
    vocabularies = _vocabularies(root, given)

    splits: Splits = {}
    for name, refs in given.items():
        inputs = _inputs(read_array(root, refs.inputs), refs.inputs, pixels, channels)
        _check_length(refs.inputs, len(inputs), refs.targets, len(targets[name]))
        shape = tuple(inputs.shape[1:])
        if kind == "classification":
            spec = DataSpec(shape, len(ids), names)
            target = torch.from_numpy(_ids_of(targets[name], ids, refs.targets))
        else:
            spec = DataSpec(shape, None)
            target = torch.from_numpy(_finite(targets[name], refs.targets))
        columns, extra = {}, {}
        for column, reference in refs.columns.items():
            values = _one_dimension(root, reference)
            _check_length(refs.inputs, len(inputs), reference, len(values))
            known = vocabularies[column]
            columns[column] = Column(_ids_of(values, known, reference), tuple(map(str, known.tolist())))
        for column, reference in refs.extra.items():
            extra[column] = _finite(_one_dimension(root, reference), reference)
            _check_length(refs.inputs, len(inputs), reference, len(extra[column]))
        splits[name] = ArrayDataset(inputs, target, spec, columns, extra)
    return splits


def _vocabularies(root: Path, given: dict[str, ArrayRefs]) -> dict[str, np.ndarray]:
    """The values of every metadata column, over all splits."""
    values: dict[str, list[np.ndarray]] = {}
    for refs in given.values():
        for column, reference in refs.columns.items():
            values.setdefault(column, []).append(_one_dimension(root, reference))
    return {column: np.unique(np.concatenate(parts)) for column, parts in values.items()}


def _one_dimension(root: Path, reference: str) -> np.ndarray:
    array = read_array(root, reference)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(f"{reference}: needs one number per sample, (samples,), not shape {array.shape}")
    return array


def _inputs(array: np.ndarray, reference: str, pixels: str, channels: str) -> torch.Tensor:
    """(samples, features) or (samples, channels, height, width), float32."""
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{reference}: shape {array.shape} is neither (samples, features) nor that of images")
    _check_real(array, reference)
    scale = 255 if array.dtype == np.uint8 and pixels == "unit" else 1
    inputs = torch.from_numpy(array.astype(np.float32)).div_(scale)
    if array.ndim == 3:
        return inputs.unsqueeze(1)
    return inputs.permute(0, 3, 1, 2).contiguous() if array.ndim == 4 and channels == "last" else inputs


def _check_real(array: np.ndarray, reference: str) -> None:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{reference}: needs real numbers, not {array.dtype}")


def _finite(array: np.ndarray, reference: str) -> np.ndarray:
    """The numbers as float32."""
    _check_real(array, reference)
    if not np.isfinite(array).all():
        raise DataError(f"{reference}: sample {int((~np.isfinite(array)).argmax())} has no finite number")
    return array.astype(np.float32)


def _ids_of(values: np.ndarray, known: np.ndarray, reference: str) -> np.ndarray:
    """The place of each value in the sorted `known`."""
    ids = np.searchsorted(known, values).clip(max=max(len(known) - 1, 0))
    unknown = np.unique(values[known[ids] != values])
    if len(unknown):
        shown = ", ".join(map(str, unknown[:5].tolist()))
        raise DataError(f"{reference}: class {shown} is not one of the {len(known)} known from training")
    return ids.astype(np.int64)


def _check_length(reference: str, length: int, other: str, other_length: int) -> None:
    if length != other_length:
        raise DataError(f"{other} has {other_length} samples, but {reference} has {length}")
