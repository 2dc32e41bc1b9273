"""Labelled texts as token ids of one length, with a mask of those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import DataSpec, Inputs
from framework.data.dataset import Column, Dataset
from framework.data.in_memory import select_metadata
from framework.data.text.tokenizer import Tokenizer, readable


class PaddedTexts(Dataset):
    """Texts of a classification.

    Args:
        tokens: (texts, length) ids, in memory in two or four bytes each.
        lengths: (texts,) how many of them are there.
        spec: of the texts.
        columns: metadata with `label`.
        tokenizer: that made the ids.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        spec: DataSpec,
        columns: Mapping[str, Column],
        tokenizer: Tokenizer,
    ) -> None:
        self.tokens = tokens
        self.lengths = lengths
        self.spec = spec
        self.columns = columns
        self.extra = {}
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.tokens)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """`input_ids` and `attention_mask` (k, length), int64, and the class ids (k,)."""
        mask = np.arange(self.tokens.shape[1]) < self.lengths[positions][:, None]
        inputs: Inputs = {
            "input_ids": torch.from_numpy(self.tokens[positions].astype(np.int64)),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }
        return inputs, torch.from_numpy(self.columns["label"].values[positions])

    def select(self, positions: np.ndarray) -> PaddedTexts:
        """The texts at `positions`."""
        columns, _ = select_metadata(self, positions)
        return PaddedTexts(
            self.tokens[positions], self.lengths[positions], self.spec, columns, self.tokenizer
        )

    def readable(self, positions: np.ndarray) -> list[dict[str, str]]:
        """The texts at `positions` (k,), as far as they were kept."""
        rows = [self.tokens[p][: self.lengths[p]] for p in positions.tolist()]
        return [{"text": readable(self.tokenizer, row)} for row in rows]


def padded(
    texts: Sequence[Sequence[np.ndarray]], length: int, end: int, dtype: type[np.unsignedinteger]
) -> tuple[np.ndarray, np.ndarray]:
    """The parts of each text, `end` after each, cut or filled with `end` to `length`; and their lengths."""
    tokens = np.full((len(texts), length), end, dtype=dtype)
    lengths = np.zeros(len(texts), dtype=np.int64)
    for number, parts in enumerate(texts):
        row = np.concatenate([piece for part in parts for piece in (part, [end])])[:length]
        tokens[number, : len(row)] = row
        lengths[number] = len(row)
    return tokens, lengths
