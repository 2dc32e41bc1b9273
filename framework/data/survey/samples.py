"""What the samples of a split hold, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from torch import Tensor

from framework.data.dataset import Dataset
from framework.data.faults import Fault, Reader
from framework.errors import DataError

#: samples that are in memory at once
_CHUNK = 512
#: numbers of a sample that are kept for histograms
_MAX_KEPT = 24


@dataclass(frozen=True)
class Moments:
    """Of every feature, or every channel of images; NaN and infinite numbers are counted and left out.

    Attributes:
        low: (features,) smallest value; NaN where there is none.
        high: (features,) largest value; NaN where there is none.
        mean: (features,).
        deviation: (features,) standard deviation over the samples.
        missing: (features,) int64 NaN.
        infinite: (features,) int64.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    missing: np.ndarray
    infinite: np.ndarray


@dataclass(frozen=True)
class SplitSurvey:
    """One split.

    Attributes:
        name: of the split.
        size: samples that it has.
        num_asked: samples that were to be read, all or evenly chosen ones.
        positions: (read,) those that could be read.
        faults: what could not be read, and why.
        inputs: a hash of each one's inputs, (read,) 16 bytes each.
        targets: a hash of each one's target, (read,) 16 bytes each.
        moments: of numbers and images; None for texts.
        constant: pixels or features that are the same in all samples, of how many; None for texts.
        values: (read, numbers) of each sample's numbers some, for histograms; None for texts.
        lengths: (read,) tokens of each text; None for others.
        real_targets: (read,) the targets, where they are single real numbers.
    """

    name: str
    size: int
    num_asked: int
    positions: np.ndarray
    faults: Sequence[Fault]
    inputs: np.ndarray
    targets: np.ndarray
    moments: Moments | None
    constant: tuple[int, int] | None
    values: np.ndarray | None
    lengths: np.ndarray | None
    real_targets: np.ndarray | None

    @property
    def is_whole(self) -> bool:
        """Whether every sample was to be read."""
        return self.num_asked == self.size


def survey_split(name: str, dataset: Dataset, limit: int | None) -> SplitSurvey:
    """Read `limit` samples of a split without augmentation, or all of them.

    Raises:
        DataError: none of them can be read.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    asked = np.linspace(0, len(dataset) - 1, count).astype(np.int64)
    reader = Reader(dataset)
    positions, inputs, targets, lengths, kept, real = [], [], [], [], [], []
    sums = _Sums()
    is_text = dataset.spec.num_tokens is not None
    for start in range(0, count, _CHUNK):
        chosen, content, _ = reader.fetch(asked[start : start + _CHUNK], None)
        if content is None:
            continue
        read, wanted = content
        positions.append(chosen)
        named = {"": read} if isinstance(read, Tensor) else dict(sorted(read.items()))
        inputs += _digests([tensor.numpy() for tensor in named.values()], len(chosen))
        targets += _digests([wanted.numpy()], len(chosen))
        if is_text:
            lengths.append(_lengths(dataset, named, chosen))
        else:
            flat = np.concatenate(
                [t.double().numpy().reshape(len(chosen), -1) for t in named.values()], axis=1
            )
            sums.add(flat)
            kept.append(flat[:, :: -(-flat.shape[1] // _MAX_KEPT)])
        if wanted.is_floating_point() and wanted.dim() == 1:
            real.append(wanted.double().numpy())
    if not positions:
        first = reader.faults[0]
        raise DataError(f"split '{name}': not one sample can be read; {first.name}: {first.reason}")
    channels = dataset.spec.input_shape[0] if len(dataset.spec.input_shape) == 3 else None
    return SplitSurvey(
        name,
        len(dataset),
        count,
        np.concatenate(positions),
        reader.faults,
        np.array(inputs, dtype="V16"),
        np.array(targets, dtype="V16"),
        None if is_text else sums.moments(channels),
        None if is_text else sums.constant(),
        None if is_text else np.concatenate(kept),
        np.concatenate(lengths) if is_text else None,
        np.concatenate(real) if real else None,
    )


def _digests(arrays: list[np.ndarray], count: int) -> list[bytes]:
    rows = [np.ascontiguousarray(array).reshape(count, -1) for array in arrays]
    return [
        blake2b(b"".join(array[row].tobytes() for array in rows), digest_size=16).digest()
        for row in range(count)
    ]


def _lengths(dataset: Dataset, inputs: dict[str, Tensor], positions: np.ndarray) -> np.ndarray:
    lengths = np.full(len(positions), dataset.spec.input_shape[0], dtype=np.int64)
    if "attention_mask" in inputs:
        lengths[:] = inputs["attention_mask"].sum(dim=1).numpy()
    elif "num_tokens" in dataset.extra:
        lengths[:] = dataset.extra["num_tokens"][positions]
    return lengths


class _Sums:
    """Sums over samples, per number of an input."""

    def __init__(self) -> None:
        self.parts: dict[str, np.ndarray] = {}

    def add(self, values: np.ndarray) -> None:
        """Count the samples of `values` (samples, numbers)."""
        known = np.isfinite(values)
        zero = np.where(known, values, 0)
        # differences from the first sample: squares of large numbers would lose the small spread
        shift = self.parts.setdefault("shift", zero[0])
        moved = np.where(known, values - shift, 0)
        new = {
            "count": known.sum(axis=0),
            "sum": moved.sum(axis=0),
            "squares": (moved**2).sum(axis=0),
            "missing": np.isnan(values).sum(axis=0),
            "infinite": np.isinf(values).sum(axis=0),
        }
        for name, array in new.items():
            self.parts[name] = self.parts.get(name, 0) + array
        low, high = np.where(known, values, np.inf).min(axis=0), np.where(known, values, -np.inf).max(axis=0)
        self.parts["low"] = np.minimum(self.parts.get("low", np.inf), low)
        self.parts["high"] = np.maximum(self.parts.get("high", -np.inf), high)

    def constant(self) -> tuple[int, int]:
        """Numbers that are the same in all samples, and all numbers."""
        p = self.parts
        same = (p["low"] == p["high"]) & (p["missing"] == 0) & (p["infinite"] == 0)
        return int(same.sum()), len(same)

    def moments(self, channels: int | None) -> Moments:
        """Per number, or per channel."""
        p = {name: part.reshape(channels or len(part), -1) for name, part in self.parts.items()}
        count = p["count"].sum(axis=1)
        at_least = np.maximum(count, 1)
        total = (p["sum"] + p["count"] * p["shift"]).sum(axis=1)
        mean = total / at_least
        # per number around its own shift, then around the mean of the channel
        offset = p["shift"] - mean[:, None]
        squares = (p["squares"] + 2 * offset * p["sum"] + p["count"] * offset**2).sum(axis=1)
        there = count > 0
        return Moments(
            np.where(there, p["low"].min(axis=1), np.nan),
            np.where(there, p["high"].max(axis=1), np.nan),
            np.where(there, mean, np.nan),
            np.where(there, np.sqrt(np.maximum(squares, 0) / at_least), np.nan),
            p["missing"].sum(axis=1),
            p["infinite"].sum(axis=1),
        )
