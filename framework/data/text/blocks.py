"""Documents, and the blocks of tokens that a language model reads, each of one domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from framework.data.batch import NO_TOKEN, DataSpec, Inputs
from framework.data.dataset import Column, Dataset
from framework.data.in_memory import select_metadata
from framework.data.text.tokenizer import Tokenizer, compact, readable
from framework.data.unfitted import Unfitted


class Documents(Unfitted):
    """Tokenized documents with their domain; split as they are, then packed.

    Args:
        tokens: ids of each document.
        num_bytes: (documents,) length of each text in bytes.
        domain: (documents,) domain of each.
        tokenizer: that made the ids.
        length: tokens of a block.
    """

    def __init__(
        self,
        tokens: Sequence[np.ndarray],
        num_bytes: np.ndarray,
        domain: Column,
        tokenizer: Tokenizer,
        length: int,
    ) -> None:
        self.tokens = tokens
        self.num_bytes = num_bytes
        self.columns = {"domain": domain}
        self.extra = {}
        self.tokenizer = tokenizer
        self.length = length
        self.spec = DataSpec((length,), None, num_tokens=tokenizer.num_tokens, next_tokens=True)

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, positions: np.ndarray) -> Documents:
        """The documents at `positions`."""
        columns, _ = select_metadata(self, positions)
        tokens = [self.tokens[position] for position in positions]
        return Documents(tokens, self.num_bytes[positions], columns["domain"], self.tokenizer, self.length)

    def fitted(self, training: Dataset) -> TokenBlocks:
        """The documents of each domain one after the other, cut into blocks.

        Each token of a document, and the end after it, is the target of exactly one position. The last
        block of a domain is short: what is left of it counts nowhere. A block may hold the end of one
        document and the beginning of the next, and attention does not stop between them.
        """
        domain = self.columns["domain"]
        end = np.array([self.tokenizer.end])
        streams, starts, domains, num_tokens, num_bytes = [], [], [], [], []
        offset = 0
        for number in np.unique(domain.values):
            members = np.flatnonzero(domain.values == number).tolist()
            stream = np.concatenate([end, *(part for m in members for part in (self.tokens[m], end))])
            # The bytes of a document are spread evenly over its tokens; its end stands for none.
            widths = np.concatenate([self._token_bytes(m) for m in members])
            begins = np.arange(0, len(widths), self.length)
            starts.append(offset + begins)
            domains.append(np.full(len(begins), number, dtype=np.int64))
            num_tokens.append(np.minimum(self.length, len(widths) - begins))
            num_bytes.append(np.add.reduceat(widths, begins))
            streams.append(stream)
            offset += len(stream)
        counts = np.concatenate(num_tokens)
        return TokenBlocks(
            np.concatenate(streams).astype(compact(self.tokenizer.num_tokens)),
            np.concatenate(starts),
            self.tokenizer,
            self.spec,
            {"domain": Column(np.concatenate(domains), domain.names)},
            {
                "num_tokens": counts.astype(np.float32),
                "num_bytes": np.concatenate(num_bytes).astype(np.float32),
            },
        )

    def _token_bytes(self, document: int) -> np.ndarray:
        count = len(self.tokens[document])
        return np.append(np.full(count, self.num_bytes[document] / count), 0.0)


class TokenBlocks(Dataset):
    """Blocks of consecutive tokens; a target is the token that follows.

    Args:
        tokens: all of them, in memory in two or four bytes each.
        starts: (blocks,) where each block begins.
        tokenizer: that made the ids; its `end` is the input where a short block has no token.
        spec: of the blocks.
        columns: `domain`.
        extra: `num_tokens` counted in each block, `num_bytes` that they stand for, and what else there is.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        starts: np.ndarray,
        tokenizer: Tokenizer,
        spec: DataSpec,
        columns: Mapping[str, Column],
        extra: Mapping[str, np.ndarray],
    ) -> None:
        self.tokens = tokens
        self.starts = starts
        self.tokenizer = tokenizer
        self.spec = spec
        self.columns = columns
        self.extra = extra

    def __len__(self) -> int:
        return len(self.starts)

    def fetch(self, positions: np.ndarray, epoch: int | None) -> tuple[Inputs, Tensor]:
        """Token ids (k, tokens) and the next ones, -100 where a short block has none, both int64."""
        steps = np.arange(self.spec.input_shape[0])
        places = self.starts[positions][:, None] + steps
        counted = steps < self.extra["num_tokens"][positions][:, None]
        last = len(self.tokens) - 1
        inputs = np.where(counted, self.tokens[places.clip(max=last)], self.tokenizer.end).astype(np.int64)
        targets = np.where(counted, self.tokens[(places + 1).clip(max=last)].astype(np.int64), NO_TOKEN)
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    def select(self, positions: np.ndarray) -> TokenBlocks:
        """The blocks at `positions`; the tokens are shared."""
        columns, extra = select_metadata(self, positions)
        return TokenBlocks(self.tokens, self.starts[positions], self.tokenizer, self.spec, columns, extra)

    def readable(self, positions: np.ndarray) -> list[dict[str, str]]:
        """The texts of the blocks at `positions` (k,)."""
        counts = self.extra["num_tokens"].astype(np.int64)
        spans = [(self.starts[p] + 1, self.starts[p] + 1 + counts[p]) for p in positions.tolist()]
        return [{"text": readable(self.tokenizer, self.tokens[start:stop])} for start, stop in spans]
