"""Random numbers as pure functions of a seed and a purpose; no state, so nothing to save or restore."""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 8


def _key(*parts: str | int) -> np.ndarray:
    """Two 64-bit words (2,) that are unrelated for different `parts`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator of its own for each (seed, purpose)."""
    return np.random.Generator(np.random.Philox(key=_key(seed, *purpose)))


def uniforms(ids: np.ndarray, seed: int, *purpose: str | int) -> np.ndarray:
    """One number in [0, 1) per sample id (k,), the same whatever else is in `ids`."""
    first, second = _key(seed, *purpose)
    words: np.ndarray = _mixed(_mixed(ids.astype(np.uint64) * _GOLDEN + first) + second)
    # 53 bits, so that no number is rounded up to 1
    return (words >> np.uint64(11)) * 2.0**-53


def permuted(ids: np.ndarray, size: int, seed: int, *purpose: str | int) -> np.ndarray:
    """Where a bijection of 0 to `size` - 1, one for each (seed, purpose), takes each of `ids` (k,).

    A Feistel network over the next power of two (Luby and Rackoff, SIAM J. Comput. 17, 1988); what leaves
    the range goes through it again until it is back inside (cycle walking: Black and Rogaway, CT-RSA 2002),
    twice at most on average.
    """
    keys = np.resize(_key(seed, *purpose), _ROUNDS) + np.arange(_ROUNDS, dtype=np.uint64) * _GOLDEN
    bits = max(int(size - 1).bit_length(), 2)
    low = np.uint64(bits // 2)
    low_mask, high_mask = np.uint64((1 << (bits // 2)) - 1), np.uint64((1 << (bits - bits // 2)) - 1)
    found = ids.astype(np.uint64)
    outside = np.arange(len(found))
    while len(outside):
        words = found[outside]
        left, right = words >> low, words & low_mask
        for number in range(_ROUNDS):
            if number % 2:
                right ^= _mixed(left + keys[number]) & low_mask
            else:
                left ^= _mixed(right + keys[number]) & high_mask
        found[outside] = (left << low) | right
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def _mixed(words: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: every input bit moves about half of the output bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = words ^ (words >> np.uint64(31))
    return mixed
