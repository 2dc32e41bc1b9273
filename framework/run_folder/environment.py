"""What a run ran on: versions, platform, git state, command, time and memory; one entry per start."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from framework.files import replace_file, to_json, writing

_log = logging.getLogger(__name__)

ENVIRONMENT = "environment.json"
PACKAGES = (
    "framework",
    "torch",
    "numpy",
    "safetensors",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "scikit-learn",
    "pandas",
    "transformers",
    "deepspeed",
)
_GIT_TIMEOUT_SECONDS = 10


def environment(**more: Any) -> dict[str, Any]:
    """Where and how this process runs, with `more` (seed, world, engine, ...) added; no host or user name."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.orig_argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": _versions(),
        "git": _git_state(),
        **more,
    }


def record_environment(run_dir: Path, entry: Mapping[str, Any]) -> None:
    """Append `entry` to environment.json: a continued run keeps the entries of its earlier starts.

    Raises:
        UserError: the folder is not writable.
    """
    path = run_dir / ENVIRONMENT
    with writing(path):
        replace_file(path, [to_json([*read_environments(run_dir), dict(entry)])])


def record_cost(run_dir: Path, cost: Mapping[str, Any]) -> None:
    """Add to the entry of this start what it took, when it ends; a killed process leaves no such word.

    A disk that refuses it is only logged: the numbers of the run are safe, and an error that ends the
    run is not hidden behind this one.
    """
    *earlier, entry = read_environments(run_dir) or [{}]
    try:
        replace_file(run_dir / ENVIRONMENT, [to_json([*earlier, {**entry, **cost}])])
    except OSError as error:
        _log.warning("%s cannot be written: %s", run_dir / ENVIRONMENT, error.strerror)


def read_environments(run_dir: Path) -> list[dict[str, Any]]:
    """The entries of every start, oldest first; none when the file is missing or damaged."""
    try:
        entries = json.loads((run_dir / ENVIRONMENT).read_bytes())
    except (OSError, ValueError):
        return []
    return entries if isinstance(entries, list) else []


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_state() -> dict[str, Any] | None:
    """Commit of the working directory's repository, and whether tracked files differ from it."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        # Optional locks would make a question about the state compete with the user's own git commands.
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
