"""Weights of groups by name, in a configuration or in a JSON file that is made of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from framework.data.files.paths import existing_file
from framework.errors import ConfigError, DataError, Problem
from framework.files import replace_file, to_json, writing
from framework.naming import nearest

_KEY = "data.sampling.weights"


def write_weights(path: Path, weights: Mapping[str, float]) -> None:
    """Write ``{"groups": [names], "weights": [numbers]}``.

    Raises:
        UserError: the file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [to_json({"groups": list(weights), "weights": list(weights.values())})])


def read_weights(path: str) -> dict[str, float]:
    """The weights in a file that `write_weights` wrote, or another in its form.

    Raises:
        DataError: it is missing, or of another form.
    """
    file = existing_file(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a JSON file of weights: {error}") from error
    fault = _fault(content)
    if fault:
        raise DataError(f'{file}: {fault}; expected {{"groups": [names], "weights": [numbers]}}')
    return dict(zip(content["groups"], map(float, content["weights"]), strict=True))


def _fault(content: Any) -> str:
    """What is wrong with the content of a file of weights; empty if nothing is."""
    if not isinstance(content, dict) or set(content) != {"groups", "weights"}:
        keys = ", ".join(map(str, content)) or "nothing" if isinstance(content, dict) else "no object"
        return f"holds {keys}"
    groups, weights = content["groups"], content["weights"]
    if not isinstance(groups, list) or not all(isinstance(name, str) for name in groups):
        return "`groups` is not a list of names"
    if not isinstance(weights, list) or not all(_is_weight(value) for value in weights):
        return "`weights` is not a list of finite numbers of at least 0"
    if len(groups) != len(weights):
        return f"{len(groups)} groups have {len(weights)} weights"
    if len(set(groups)) < len(groups):
        return "a group occurs twice"
    return ""


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def shares_of(
    weights: Mapping[str, float] | str | None, names: Sequence[str], counts: np.ndarray
) -> np.ndarray:
    """The share of the draws (groups,) that goes to each group; they sum to 1.

    Args:
        weights: by group name, or the path of a file of them.
        names: of the groups.
        counts: (groups,) training samples of each.

    Raises:
        ConfigError: groups without a weight, weights without a group or without samples, or all are 0.
        DataError: the file is missing or broken.
    """
    if weights is None:
        raise ConfigError([Problem(_KEY, f"`weighted` needs a weight for each of {', '.join(names)}")])
    place = f" in {weights}" if isinstance(weights, str) else ""
    given = read_weights(weights) if isinstance(weights, str) else weights
    unknown = [f"no group '{name}'{nearest(name, names)}" for name in given if name not in names]
    missing = [f"group '{name}' has no weight" for name in names if name not in given]
    empty = [
        f"group '{name}' has no training samples, so its weight must be 0"
        for name, count in zip(names, counts.tolist(), strict=True)
        if not count and given.get(name)
    ]
    faults = [*unknown, *missing, *empty]
    if unknown or missing:
        faults.append(f"groups: {', '.join(names)}")
    if not faults and not sum(given.values()):
        faults = ["all weights are 0"]
    if faults:
        raise ConfigError([Problem(_KEY, "; ".join(faults) + place)])
    values = np.array([given[name] for name in names], dtype=np.float64)
    shares: np.ndarray = values / values.sum()
    return shares
