"""comparison.json and sweep.json: what a study leaves for its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from framework.errors import UserError


def read_study_file(path: Path, what: str, keys: frozenset[str]) -> dict[str, Any]:
    """The content of `path`, the file of a `what`, which has at least `keys`.

    Raises:
        UserError: it is missing or is not one.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not keys <= content.keys():
        raise UserError(f"{path} is not the file of a {what}")
    return content
