"""Random numbers as pure functions of a seed and a purpose; no state, so nothing to save or restore."""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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


def _mixed(words: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: every input bit moves about half of the output bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = words ^ (words >> np.uint64(31))
    return mixed
