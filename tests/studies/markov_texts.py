"""Four domains of text by Markov chains over 24 letters, of which one is noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwx", dtype=np.uint8)
#: tokens of a block: the name of the domain, letters, and the end of the line
LENGTH = 32


@dataclass(frozen=True)
class Domain:
    """A first-order Markov chain: the next letter is one of a few that the letter before allows.

    Attributes:
        num_lines: of text; a line is a block of `LENGTH` tokens.
        num_rows: different rows of the transition matrix, which is what there is to learn.
        num_followers: letters that may follow, all equally likely.
    """

    num_lines: int
    num_rows: int
    num_followers: int

    @property
    def entropy(self) -> float:
        """Of a block, per token, in nats: the name and the end of a line are as good as known."""
        return (math.log(len(LETTERS)) + (LENGTH - 3) * math.log(self.num_followers)) / LENGTH


DOMAINS = {
    "easy": Domain(18_000, num_rows=2, num_followers=4),
    "medium": Domain(13_500, num_rows=8, num_followers=4),
    "hard": Domain(4_500, num_rows=24, num_followers=4),
    "noise": Domain(9_000, num_rows=1, num_followers=24),
}


def write_texts(folder: Path, seed: int, share: float = 1.0) -> None:
    """A table of lines for each domain; chains and lines follow `seed`.

    Args:
        folder: where to write.
        seed: of everything random.
        share: of the lines to write.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number, (name, domain) in enumerate(DOMAINS.items(), 1):
        rows = np.stack([random.permutation(24)[: domain.num_followers] for _ in range(domain.num_rows)])
        row_of = random.permutation(24) % domain.num_rows
        size = round(share * domain.num_lines)
        letters = [random.integers(24, size=size)]
        for _ in range(LENGTH - 3):
            letters.append(rows[row_of[letters[-1]], random.integers(domain.num_followers, size=size)])
        lines = (f"{number}{line.tobytes().decode()}\n" for line in LETTERS[np.stack(letters, axis=1)])
        (folder / f"{name}.tsv").write_text("text\n" + "".join(lines))
