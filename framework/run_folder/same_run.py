"""Whether two configurations describe one run, so that the second may continue what the first began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from framework.errors import ConfigError, Problem

CONFIG = "config.yaml"

#: keys that may differ between the stopped and the continued run: none of them touches a number that is
#: trained or measured by more than rounding. The length of training is not among them: schedules need it.
MAY_DIFFER = (
    "run",
    "resume",
    "launch",
    "log",
    "reporters",
    "plugins",
    "checkpoint",
    "data.workers",
    "engine",
)
#: what touches numbers of an engine that has it
_MUST_AGREE = "engine.precision"


def saved_config(run_dir: Path) -> dict[str, Any]:
    """The configuration a run folder was begun with.

    Raises:
        ConfigError: config.yaml is missing or broken.
    """
    path = run_dir / CONFIG
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigError([Problem("run.dir", f"{path} cannot be read: {error.strerror}")]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem("run.dir", f"{path} is not YAML")]) from error
    if not isinstance(content, dict):
        raise ConfigError([Problem("run.dir", f"{path} is not a configuration")])
    return content


def differences(saved: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """One line per key that makes `config` another run than `saved`: `optimizer.lr: 0.1 there, 0.2 now`."""
    # Through YAML, as the saved one went: tuples become lists there, and numbers take one spelling.
    there, now = _leaves(saved), _leaves(yaml.safe_load(yaml.safe_dump(dict(config))))
    # Interpolations that were meant as text are escaped in the file.
    there = {key: text.replace(r"\\${", "${") for key, text in there.items()}
    lines = []
    # How an exact global batch is cut does not matter, as little as the number of processes.
    exact = now.get("batch.accumulation") == there.get("batch.accumulation") == '"exact"'
    free_keys = (*MAY_DIFFER, "batch.micro") if exact else MAY_DIFFER
    for key in sorted(there.keys() | now.keys()):
        if any(key == free or key.startswith(f"{free}.") for free in free_keys) and not (
            key == _MUST_AGREE and key in there and key in now
        ):
            continue
        before, after = there.get(key, "absent"), now.get(key, "absent")
        if before != after:
            lines.append(f"{key}: {before} there, {after} now")
    return lines


def _leaves(value: Any, prefix: str = "") -> dict[str, str]:
    """Every value by its dotted key, as text: a NaN equals itself there, and 1 differs from true."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    if not items:
        return {prefix: json.dumps(value, default=str)}
    leaves: dict[str, str] = {}
    for key, item in items:
        leaves |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves
